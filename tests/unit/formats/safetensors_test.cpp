// Safetensors: single files and shards, and what is said of each kind of damage.
#include "core/formats/safetensors.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "tests/support/gguf_writer.hpp"
#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

std::string make(const std::string& header, std::size_t data_bytes) {
  std::string out;
  append(out, std::uint64_t{header.size()});
  return out + header + std::string(data_bytes, 'd');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  std::ostringstream out;
  out << std::quoted(name) << R"(:{"dtype":)" << std::quoted(dtype) << R"(,"shape":)" << shape << R"(,"data_offsets":[)"
      << begin << ',' << end << "]}";
  return out.str();
}

std::string braced(const std::string& members) { return std::string("{").append(members).append("}"); }

std::vector<TensorInfo> parse_header(std::string_view bytes) {
  const auto block = exact_bytes(bytes);
  return read_safetensors_header("model.safetensors", block);
}

// Two shards and their index.
void write_shards(const TempFolder& folder, const std::string& map) {
  folder.write("one.safetensors", make(braced(entry("a", "F32", "[2]", 0, 8)), 8));
  folder.write("two.safetensors", make(braced(entry("b", "BF16", "[1,3]", 0, 6)), 6));
  folder.write("model.safetensors.index.json", R"({"metadata":{"total_size":14},"weight_map":)" + map + "}");
}

}  // namespace

TEST_CASE("a well-made safetensors file gives its tensors") {
  const std::string header = "{\"__metadata__\":{\"format\":\"pt\"}," + entry("w", "F16", "[2,3]", 4, 16) + "," +
                             entry("scalar", "F32", "[]", 0, 4) + "," + entry("empty", "I64", "[0,7]", 4, 4) + "}  ";
  const auto tensors = parse_header(make(header, 12 + 4));
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[0].name == "w");
  CHECK(tensors[0].type == NACELLE_TYPE_F16);
  CHECK(tensors[0].shape == std::vector<std::uint64_t>{2, 3});
  CHECK(tensors[0].offset == 8 + header.size() + 4);
  CHECK(tensors[0].size == 12);
  CHECK(tensors[1].shape.empty());
  CHECK(tensors[2].size == 0);
}

TEST_CASE("each kind of damage to a safetensors file is named with its field and byte") {
  const auto one = [](const std::string& text, std::size_t data = 8) { return make(braced(text), data); };
  std::string deep = "\"a\":";
  for (int i = 0; i < 100; ++i) deep += "[";
  std::string long_header;
  append(long_header, std::uint64_t{100'000'001});
  struct Row {
    std::string bytes;
    const char* expected;
  };
  const Row rows[] = {
      {"1234567", "header length at byte 0: needs 8 bytes"},
      {long_header + "{}\1", "header length at byte 0: is 100000001, expected at most 100000000"},
      {make("{}", 0).substr(0, 9), "header length at byte 0: is 2, but only 1 bytes follow"},
      {make("[]", 0), "header at byte 8: does not begin with '{'"},
      {make("", 0), "header at byte 8: does not begin with '{'"},
      {make("{\"a\":}", 0), "JSON at byte 14: is no valid JSON, line 1, column 6: syntax error"},
      {make("{\"a\xff\":1}", 0), "ill-formed UTF-8 byte"},
      {make("{} x", 0), "JSON at byte 12: is no valid JSON"},
      {one(deep), "is nested deeper than 8 levels"},
      {one("\"__metadata__\":{\"a\":1}"), "__metadata__ at byte 23: is no object of strings"},
      {one("\"a\":5"), "tensor 'a' at byte 12: expected an object of dtype, shape and data_offsets"},
      {one("\"a\":{\"dtype\":\"F32\",\"shape\":[2]}"), "tensor 'a' at byte 12: expected an object"},
      {one(entry("a", "F32", "[2]", 0, 8) + "," + entry("a", "F32", "[2]", 0, 8)),
       "tensor 'a' at byte 65: occurs a second time"},
      {one(entry("a", "F8_E5M2", "[2]", 0, 8)), "tensor 'a' dtype at byte 21: is 'F8_E5M2', expected F32"},
      {one(entry("a", "F32", "[-2]", 0, 8)), "tensor 'a' shape at byte 35: expected an array"},
      {one(entry("a", "F32", "[2.5]", 0, 8)), "tensor 'a' shape at byte 35: expected an array"},
      {one(entry("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8)),
       "tensor 'a' shape at byte 35: expected an array of at most 8"},
      {one(entry("a", "F32", "[18446744073709551615]", 0, 8)), "tensor 'a' shape at byte 35: expected an array"},
      {one(entry("a", "F32", "[4294967296,4294967296]", 0, 8)), "tensor 'a' at byte 12: shape has more than 2^63 - 1"},
      {one(entry("a", "F32", "[2]", 8, 0)), "tensor 'a' at byte 12: data_offsets is not [begin, end]"},
      {one(entry("a", "F32", "[3]", 0, 8)),
       "tensor 'a' at byte 12: data_offsets spans 8 bytes, but dtype and shape take 12"},
      {one(entry("a", "F32", "[1]", 4, 8)), "tensor 'a' data_offsets at byte 54: begins at 4, expected 0"},
      {one(entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "F32", "[1]", 4, 8)),
       "tensor 'b' data_offsets at byte 107: begins at 4, expected 8"},
      {one(entry("a", "F32", "[3]", 0, 12)),
       "tensor 'a' data_offsets at byte 54: ends at 12, but the file has 8 bytes"},
      {one(entry("a", "F32", "[2]", 0, 8), 11),
       "tensor data at byte 70: ends here by the header, but the file has 3 bytes more"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.expected);
    const std::string message = error_of([&] { parse_header(row.bytes); });
    CHECK_THAT(message, Catch::StartsWith("model.safetensors: "));
    CHECK_THAT(message, Catch::Contains(row.expected));
  }
}

TEST_CASE("a safetensors file that is cut or changed anywhere gives an error or a model, never a crash") {
  const std::string bytes = make("{\"__metadata__\":{\"f\":\"pt\"}," + entry("w", "F16", "[2,3]", 0, 12) + "," +
                                     entry("b", "I8", "[1]", 12, 13) + "}",
                                 13);
  std::uint64_t sum = 0;
  const std::size_t errors = count_damaged(bytes, [&](std::span<const std::byte> damaged) {
    for (const TensorInfo& tensor : read_safetensors_header("m", damaged)) {
      for (const std::byte byte : damaged.subspan(tensor.offset, tensor.size)) sum += static_cast<std::uint64_t>(byte);
    }
  });
  CHECK(sum > 0);
  CHECK(errors > bytes.size());
}

TEST_CASE("shards are one model") {
  const TempFolder folder;
  write_shards(folder, R"({"a":"one.safetensors","b":"two.safetensors"})");
  const Safetensors model(folder.path());
  REQUIRE(model.tensors().size() == 2);
  CHECK(model.tensors()[1].name == "b");
  CHECK(model.tensors()[1].file == 1);
  CHECK(model.files()[1].bytes()[model.tensors()[1].offset] == std::byte{'d'});
}

TEST_CASE("shards that do not fit their index are refused") {
  struct Row {
    const char* map;
    const char* expected;
  };
  const Row rows[] = {
      {R"({"a":"one.safetensors","b":"three.safetensors"})", "three.safetensors: the shard is missing"},
      {R"({"a":"one.safetensors","b":"one.safetensors"})",
       "weight_map 'b' at byte 69: names 'one.safetensors', which holds no such tensor"},
      {R"({"a":"two.safetensors","b":"one.safetensors"})",
       "weight_map 'a' at byte 47: names 'two.safetensors', which holds no such tensor"},
      {R"({"a":"one.safetensors","a":"one.safetensors"})", "weight_map 'a' at byte 69: occurs a second time"},
      {R"({"a":"../one.safetensors"})", "weight_map 'a' at byte 47: is '../one.safetensors', expected the name"},
      {R"({"a":"/etc/passwd"})", "is '/etc/passwd', expected the name of a *.safetensors file"},
      {R"({"a":7})", "weight_map 'a' at byte 47: is '', expected the name"},
      {R"([1])", "weight_map at byte 42: expected an object"},
      {R"({"a")", "is no valid JSON"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.map);
    const TempFolder folder;
    write_shards(folder, row.map);
    const std::string message = error_of([&] { Safetensors model(folder.path()); });
    CHECK_THAT(message, Catch::StartsWith(folder.path().string()));
    CHECK_THAT(message, Catch::Contains(row.expected));
  }
  const TempFolder folder;
  write_shards(folder, R"({"a":"one.safetensors","b":"two.safetensors"})");
  std::filesystem::copy_file(folder.path() / "one.safetensors", folder.path() / "two.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK_THAT(error_of([&] { Safetensors model(folder.path()); }),
             Catch::Contains("two.safetensors: tensor 'a' is in an earlier shard too"));
}

TEST_CASE("without an index the folder's only safetensors file is the model") {
  const TempFolder folder;
  const auto message = [&] { return error_of([&] { Safetensors model(folder.path()); }); };
  CHECK_THAT(message(), Catch::Contains("holds no *.safetensors file"));
  folder.write("adapter.safetensors", make(braced(entry("a", "I8", "[2]", 0, 2)), 2));
  CHECK(Safetensors(folder.path()).tensors().size() == 1);
  folder.write("b.safetensors", make("{}", 0));
  CHECK_THAT(message(), Catch::Contains("holds several *.safetensors files"));
  folder.write("model.safetensors", make("{}", 0));
  CHECK(Safetensors(folder.path()).tensors().empty());
}
