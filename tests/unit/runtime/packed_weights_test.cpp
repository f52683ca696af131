// NVFP4 and bitsandbytes' matrices, as blocks whose values were worked out by hand, and what is refused of them. Whole
// models of them, by NumPy: tests/families/packed.py.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>
#include <nacelle/block_formats.hpp>
#include <string>
#include <vector>

#include "sdk/runtime/weight_reader.hpp"
#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::sdk;
using namespace nacelle::test;

namespace {

using Bytes = std::vector<std::uint8_t>;

// The tensors of one checkpoint.
class PackedFile final : public TensorSource {
 public:
  void add(const std::string& name, nacelle_type type, Shape shape, Bytes bytes) {
    tensors[name] = {type, std::move(shape)};
    bytes_[name] = std::move(bytes);
  }
  void add(const std::string& name, Shape shape, const std::vector<float>& values) {
    Bytes bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    add(name, NACELLE_TYPE_F32, std::move(shape), std::move(bytes));
  }
  std::span<const std::byte> bytes(std::string_view tensor) override {
    return std::as_bytes(std::span(bytes_.at(std::string(tensor))));
  }
  void release(std::string_view, std::uint64_t, std::uint64_t) noexcept override {}

  WeightNode resolve(const std::string& tensor) const {
    return resolve_weight(Expr(tensor).get(), -1, lookup(tensors), [this](std::string_view name) {
      const auto found = states.find(name);
      return found == states.end() ? std::nullopt : std::optional(found->second);
    });
  }
  std::string refused(const std::string& tensor) const {
    try {
      resolve(tensor);
    } catch (const Failure& failure) {
      CHECK(failure.status() == NACELLE_INVALID_ARGUMENT);  // so that no other tensor is taken in its place
      return failure.what();
    }
    return {};
  }
  // Row by row, each read by itself.
  std::vector<float> values(const WeightNode& node) {
    WeightReader reader(node, *this);
    const auto columns = static_cast<std::size_t>(node.shape.back());
    std::vector<float> all(reader.row_count() * columns);
    for (std::uint64_t row = 0; row < reader.row_count(); ++row) {
      const auto rows = reader.read(row, 1);
      decode_row(rows.type, static_cast<const std::uint8_t*>(rows.data), columns, all.data() + row * columns);
    }
    return all;
  }

  FakeTensors tensors;
  std::map<std::string, FourBitState, std::less<>> states;

 private:
  std::map<std::string, Bytes> bytes_;
};

constexpr float kE2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

// Code i of a row is i % 16, the first of two in the low bits of a byte.
Bytes counted_codes(std::size_t count) {
  Bytes bytes(count / 2);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | i % 16 << (i % 2 ? 4 : 0));
  return bytes;
}

// A row of counted codes under these scales, of ModelOpt.
PackedFile one_row(const Bytes& scales, float whole) {
  const auto columns = static_cast<std::int64_t>(scales.size() * 16);
  PackedFile file;
  file.add("x.weight", NACELLE_TYPE_U8, {1, columns / 2}, counted_codes(scales.size() * 16));
  file.add("x.weight_scale", NACELLE_TYPE_U8, {1, columns / 16}, scales);
  file.add("x.weight_scale_2", {}, {whole});
  return file;
}

}  // namespace

TEST_CASE("NVFP4 of whole 256 columns becomes Q6_K and loses nothing where the scales are near each other") {
  PackedFile file;
  Bytes scales;
  std::vector<float> expected;
  for (int row = 0; row < 3; ++row)
    for (int i = 0; i < 32; ++i) {
      const int exponent = (i + row) % 5, mantissa = i % 8;
      scales.push_back(static_cast<std::uint8_t>((exponent + 4) << 3 | mantissa | (i == 9 ? 0x80 : 0)));
      const float scale = std::ldexp(static_cast<float>(8 + mantissa), exponent - 6) * (i == 9 ? -1.0f : 1.0f);
      for (int code = 0; code < 16; ++code) expected.push_back(kE2m1[code] * scale * 0.375f);
    }
  file.add("x.weight", NACELLE_TYPE_U8, {3, 256}, counted_codes(3 * 512));
  file.add("x.weight_scale", NACELLE_TYPE_U8, {3, 32}, scales);
  file.add("x.weight_scale_2", {}, {0.375f});
  const WeightNode node = file.resolve("x.weight");
  CHECK(node.type == NACELLE_TYPE_Q6_K);
  CHECK(node.shape == Shape{3, 512});
  CHECK(node.tensor == "x.weight");
  CHECK(file.values(node) == expected);

  // The same as compressed-tensors has it, which divides.
  file.add("y.weight_packed", NACELLE_TYPE_U8, {3, 256}, counted_codes(3 * 512));
  file.add("y.weight_scale", NACELLE_TYPE_U8, {3, 32}, scales);
  file.add("y.weight_global_scale", {1}, {0.5f});
  for (float& value : expected) value *= 2 / 0.375f;
  CHECK(file.values(file.resolve("y.weight")) == expected);
}

TEST_CASE("NVFP4 scales far below the largest of 256 columns are rounded, and one of zeros does not count") {
  Bytes scales(16, 0x01);  // 2^-9: nothing beside 448
  scales[0] = 0x7e;        // 448: 224 units of 2
  scales[1] = 0x39;        // 1.125: 0.56 units, rounded to 1
  scales[2] = 0x49;        // 4.5: 2.25 units, rounded to 2
  PackedFile file = one_row(scales, 1);
  std::vector<float> values = file.values(file.resolve("x.weight"));
  CHECK(values[7] == 6 * 448);
  CHECK(values[16 + 7] == 6 * 2);
  CHECK(values[32 + 9] == -0.5f * 4);
  CHECK(values[48 + 7] == 0);

  Bytes codes = counted_codes(256);
  std::fill_n(codes.begin(), 8, std::uint8_t{0x80});  // zeros and minus zeros
  file.add("x.weight", NACELLE_TYPE_U8, {1, 128}, codes);
  values = file.values(file.resolve("x.weight"));
  CHECK(values[0] == 0);
  CHECK(values[7] == 0);
  CHECK(values[16 + 7] == 6 * 1.125f);
  CHECK(values[32 + 9] == -0.5f * 4.5f);

  scales[5] = 0x7f;  // no number: told by the answer, not hidden
  CHECK(std::isnan(one_row(scales, 1).values(file.resolve("x.weight"))[200]));
}

TEST_CASE("NVFP4 of other widths becomes Q8_0, whose step fits the larger of two scales") {
  PackedFile file = one_row({0x38, 0x40, 0x40, 0x39}, 10);  // 1 and 2, 2 and 1.125
  const WeightNode node = file.resolve("x.weight");
  CHECK(node.type == NACELLE_TYPE_Q8_0);
  CHECK(node.shape == Shape{1, 64});
  const std::vector<float> values = file.values(node);
  for (int code = 0; code < 16; ++code) {
    CHECK(values[code] == kE2m1[code] * 10);
    CHECK(values[16 + code] == kE2m1[code] * 20);
    CHECK(values[32 + code] == kE2m1[code] * 20);
    CHECK(std::abs(values[48 + code] - kE2m1[code] * 11.25f) <= 0.5f);  // half a step of 1
  }
  CHECK(values[48 + 7] == 68);  // 67.5, to even
}

TEST_CASE("parts of NVFP4 that do not fit are refused with what was expected") {
  const std::string expected =
      " are no NVFP4 matrix: expected U8 [N, K/2] with K a multiple of 32, F8_E4M3 [N, K/16] and F32 [1]";
  PackedFile file = one_row(Bytes(4, 0x38), 1);
  file.tensors["x.weight_scale"].shape = {1, 5};
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight' (U8 [1, 32]), tensor 'x.weight_scale' (U8 [1, 5]) and tensor 'x.weight_scale_2' (F32 [1])" +
            expected);
  file.tensors.erase("x.weight_scale");
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight' (U8 [1, 32]), tensor 'x.weight_scale' (missing) and tensor 'x.weight_scale_2' (F32 [1])" +
            expected);
  file = one_row(Bytes(4, 0x38), 1);
  file.tensors.erase("x.weight_scale_2");
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight' (U8 [1, 32]), tensor 'x.weight_scale' (U8 [1, 4]) and tensor 'x.weight_scale_2' (missing)" +
            expected);
  file = one_row(Bytes(3, 0x38), 1);  // 48 columns
  CHECK(file.refused("x.weight").find("tensor 'x.weight' (U8 [1, 24])") == 0);
  file = one_row(Bytes(4, 0x38), 1);
  file.tensors["x.weight_scale_2"].shape = {2};
  CHECK(file.refused("x.weight").find("tensor 'x.weight_scale_2' (F32 [2]) are no NVFP4 matrix") != std::string::npos);
  file.tensors["x.weight_scale_2"].shape = {0};
  CHECK(file.refused("x.weight") == "tensor 'x.weight_scale_2' of shape [0] has an extent out of range");
  file = one_row(Bytes(4, 0x38), 1);
  file.add("x.pre_quant_scale", {64}, std::vector<float>(64, 1));
  CHECK(file.refused("x.weight") ==
        "tensor 'x.pre_quant_scale' (F32 [64]) scales what 'x.weight' is applied to, which is not supported");
}

TEST_CASE("bitsandbytes' 4 bits become Q8_0: the first code is in the high bits, blocks run on over rows") {
  PackedFile file;
  Bytes codes(2 * 96 / 2);
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<std::uint8_t>((2 * i) % 16 << 4 | (2 * i + 1) % 16);
  file.add("x.weight", NACELLE_TYPE_U8, {96, 1}, codes);
  file.add("x.weight.absmax", {3}, {124.125f, 2 * 124.125f, 0.5f * 124.125f});  // over 124.114: nearly 1, 2 and 1/2
  const std::string state = "x.weight.quant_state.bitsandbytes__nf4";
  file.states[state] = {{2, 96}, 64, 0, 0};
  const WeightNode node = file.resolve("x.weight");
  CHECK(node.type == NACELLE_TYPE_Q8_0);
  CHECK(node.shape == Shape{2, 96});
  const int integers[] = {-124, -86, -65, -49, -35, -23, -11, 0, 10, 20, 31, 42, 55, 70, 90, 124};
  std::vector<float> values = file.values(node);
  for (std::size_t i = 0; i < values.size(); ++i)
    REQUIRE(values[i] == static_cast<float>(integers[i % 16]) * (i < 64 ? 1.0f : i < 128 ? 2.0f : 0.5f));

  // Scales that are quantized too, two of them with one of their own.
  file.add("x.weight.absmax", NACELLE_TYPE_U8, {3}, {1, 255, 1});
  file.add("x.weight.nested_absmax", {2}, {8, 16});
  std::vector<float> map(256);
  map[1] = 15.015625f, map[255] = 0.5f;
  file.add("x.weight.nested_quant_map", {256}, map);
  file.states[state] = {{2, 96}, 64, 2, 4.0};
  values = file.values(file.resolve("x.weight"));
  CHECK(values[15] == 124);                                                    // 15.015625 * 8 + 4 = 124.125
  CHECK(values[64 + 15] == 124 * half_to_float(float_to_half(8 / 124.114f)));  // 0.5 * 8 + 4
  CHECK(values[128 + 15] == 124 * half_to_float(float_to_half(244.25f / 124.114f)));

  // FP4, kept in a tensor of another type as FSDP wants it.
  PackedFile other;
  other.add("x.weight", NACELLE_TYPE_BF16, {48, 1}, codes);
  other.add("x.weight.absmax", {2}, {120, 240});
  other.states["x.weight.quant_state.bitsandbytes__fp4"] = {{2, 96}, 128, 0, 0};
  values = other.values(other.resolve("x.weight"));
  const int twelfths[] = {0, 1, 80, 120, 40, 60, 20, 30, 0, -1, -80, -120, -40, -60, -20, -30};
  for (std::size_t i = 0; i < values.size(); ++i)
    REQUIRE(values[i] == static_cast<float>(twelfths[i % 16]) * (i < 128 ? 1.0f : 2.0f));
}

TEST_CASE("bitsandbytes' parts that do not fit are refused with what was expected") {
  const std::string state = "x.weight.quant_state.bitsandbytes__nf4";
  PackedFile file;
  file.add("x.weight", NACELLE_TYPE_U8, {64, 1}, Bytes(64));
  file.add("x.weight.absmax", {2}, {1, 1});
  CHECK(file.refused("x.weight") == "tensor '" + state +
                                        "' is missing from the model file: it tells how tensor 'x.weight' (U8 [64, 1]) "
                                        "is packed");
  file.states[state] = {{2, 64}, 64, 0, 0};
  CHECK(file.refused("x.weight").empty());
  file.states[state].block = 48;
  CHECK(file.refused("x.weight") == "tensor '" + state + "': 'blocksize' is 48, expected 64 or another multiple of 32");
  file.states[state] = {{4, 16, 2}, 64, 0, 0};
  CHECK(file.refused("x.weight") ==
        "tensor '" + state + "': 'shape' is [4, 16, 2], expected two extents, the second a multiple of 32");
  file.states[state] = {{3, 64}, 64, 0, 0};
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight' (U8 [64, 1]) does not fit its quant_state: expected 96 bytes, for 4 bits of [3, 64]");
  file.states[state] = {{2, 64}, 32, 0, 0};
  CHECK(file.refused("x.weight") == "tensor 'x.weight.absmax' (F32 [2]) does not fit 'x.weight': expected F32 [4]");
  file.tensors.erase("x.weight.absmax");
  CHECK(file.refused("x.weight") == "tensor 'x.weight.absmax' (missing) does not fit 'x.weight': expected F32 [4]");
  file.states[state].block = 64;
  file.add("x.weight.absmax", NACELLE_TYPE_U8, {2}, Bytes(2));
  CHECK(file.refused("x.weight") ==
        "tensor '" + state + "': 'nested_blocksize' is 0, expected at least 1, as 'x.weight.absmax' is U8");
  file.states[state].nested_block = 256;
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight.nested_absmax' (missing) does not fit 'x.weight': expected F32 [1]");
  file.add("x.weight.nested_absmax", {1}, {1});
  file.add("x.weight.nested_quant_map", {16}, std::vector<float>(16));
  CHECK(file.refused("x.weight") ==
        "tensor 'x.weight.nested_quant_map' (F32 [16]) does not fit 'x.weight': expected F32 [256]");
}

TEST_CASE("bitsandbytes' 8 bits keep their integers") {
  PackedFile file;
  Bytes integers(2 * 32);
  for (std::size_t i = 0; i < integers.size(); ++i) integers[i] = static_cast<std::uint8_t>(i * 5 - 127);
  file.add("x.weight", NACELLE_TYPE_I8, {2, 32}, integers);
  file.add("x.SCB", {2}, {127, 63.5f});
  const WeightNode node = file.resolve("x.weight");
  CHECK(node.type == NACELLE_TYPE_Q8_0);
  const std::vector<float> values = file.values(node);
  for (std::size_t i = 0; i < values.size(); ++i)
    REQUIRE(values[i] == static_cast<float>(static_cast<std::int8_t>(integers[i])) * (i < 32 ? 1.0f : 0.5f));
  file.tensors["x.SCB"].shape = {3};
  CHECK(file.refused("x.weight").find("tensor 'x.SCB' (F32 [3, 1]) is no scale of tensor 'x.weight' (I8 [2, 32])") ==
        0);
}
