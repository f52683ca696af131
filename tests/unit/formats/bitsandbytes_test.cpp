// What bitsandbytes says of a matrix of 4 bits, and what of that is refused.
#include "core/formats/bitsandbytes.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const std::string kState = "x.weight.quant_state.bitsandbytes__nf4";

// What is read of the JSON in the model's one tensor.
std::optional<sdk::FourBitState> state_of(const std::string& json, const std::string& name = kState) {
  const TempFolder folder;
  const std::string size = std::to_string(json.size());
  std::string header =
      "{\"" + kState + "\":{\"dtype\":\"U8\",\"shape\":[" + size + "],\"data_offsets\":[0," + size + "]}}";
  header.resize(header.size() + (8 - header.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  length[0] = static_cast<char>(header.size());
  REQUIRE(header.size() < 256);
  folder.write("config.json", "{}");
  folder.write("model.safetensors", length + header + json);
  const auto files = ModelFiles::open(folder.path());
  return four_bit_state(*files, name);
}

}  // namespace

TEST_CASE("bitsandbytes' quant_state is read") {
  const auto nested = state_of(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [3072, 8192], )"
                               R"("nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.03125})");
  REQUIRE(nested);
  CHECK(nested->shape == std::vector<std::int64_t>{3072, 8192});
  CHECK(nested->block == 64);
  CHECK(nested->nested_block == 256);
  CHECK(nested->nested_offset == 0.03125);
  const auto plain = state_of(R"({"blocksize": 128, "shape": [2, 64]})");
  REQUIRE(plain);
  CHECK(plain->block == 128);
  CHECK(plain->nested_block == 0);
  CHECK_FALSE(state_of("{}", "y"));
}

TEST_CASE("a quant_state that is none is refused with its tensor and key") {
  const auto refused = [](const std::string& json) { return error_of([&] { state_of(json); }); };
  const std::string tensor = "tensor '" + kState + "'";
  CHECK(refused(R"({"blocksize":64})") == tensor + ": 'shape' at byte 0: is missing, expected a list of two extents");
  CHECK(refused(R"({"blocksize":64,"shape":[2,"x"]})") ==
        tensor + ": 'shape' at byte 23: is something else, expected a list of two extents");
  CHECK(refused(R"({"shape":[2,64]})") == tensor + ": 'blocksize' at byte 0: is missing, expected an integer");
  CHECK(refused(R"({"shape":[2,64],"blocksize":"64"})").find("'blocksize' at byte 27: is something else") !=
        std::string::npos);
  CHECK(refused(R"({"shape":[2,64],"blocksize":64,"nested_blocksize":256})") ==
        tensor + ": 'nested_offset' at byte 0: is missing, expected a number");
  CHECK(refused("{\"shape\":").find(tensor) == 0);
  CHECK(refused("[]").find(tensor) == 0);
}
