// Blocks of every GGUF block format against what ggml makes of them, bit for bit (golden/block_formats.txt, written by
// make_block_goldens.py).
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nacelle/block_formats.hpp>
#include <string>
#include <vector>

using namespace nacelle;

namespace {

struct Golden {
  const TypeInfo* type;
  std::vector<std::uint8_t> block;
  std::vector<float> values;
};

std::vector<std::uint8_t> from_hex(const std::string& text) {
  std::vector<std::uint8_t> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

const TypeInfo* type_named(const std::string& name) {
  for (const TypeInfo& info : kTypes)
    if (info.name == name) return &info;
  throw std::invalid_argument("no type " + name);
}

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = [] {
    std::ifstream file(NACELLE_SOURCE_DIR "/tests/unit/formats/golden/block_formats.txt");
    std::vector<Golden> read;
    for (std::string name, block, values; file >> name >> block >> values;) {
      const std::vector<std::uint8_t> bytes = from_hex(values);
      read.push_back({type_named(name), from_hex(block), std::vector<float>(bytes.size() / sizeof(float))});
      std::memcpy(read.back().values.data(), bytes.data(), bytes.size());
    }
    return read;
  }();
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("every block format decodes bit for bit, alone and as a row") {
  std::map<nacelle_type, Golden> rows;
  for (const Golden& golden : goldens()) {
    CAPTURE(golden.type->name);
    REQUIRE(golden.block.size() == golden.type->block_bytes);
    REQUIRE(golden.values.size() == golden.type->block_elements);
    std::vector<float> values(golden.values.size());
    decode_row(golden.type->type, golden.block.data(), values.size(), values.data());
    CHECK(same_bits(values, golden.values));
    Golden& row = rows[golden.type->type];
    row.block.insert(row.block.end(), golden.block.begin(), golden.block.end());
    row.values.insert(row.values.end(), golden.values.begin(), golden.values.end());
  }
  for (const TypeInfo& info : kTypes) {
    CAPTURE(info.name);
    REQUIRE((block_format(info.type) != nullptr) == (info.block_elements > 1));
    if (!block_format(info.type)) continue;
    const Golden& row = rows[info.type];
    REQUIRE(row.values.size() >= 6 * info.block_elements);
    std::vector<float> values(row.values.size());
    decode_row(info.type, row.block.data(), values.size(), values.data());
    CHECK(same_bits(values, row.values));
  }
}

TEST_CASE("a block's parts are what the table says of them") {
  for (const Golden& golden : goldens()) {
    CAPTURE(golden.type->name);
    const BlockFormat& format = *block_format(golden.type->type);
    BlockParts parts;
    std::memset(&parts, 0xa5, sizeof parts);
    take_apart(format.type, golden.block.data(), parts);
    std::vector<float> values;
    for (std::uint32_t i = 0; i < format.elements; ++i) {
      const std::uint32_t code = parts.codes[i], s = i / format.sub_elements;
      REQUIRE(code < 1u << format.code_bits);
      if (!format.integer_scales) REQUIRE(parts.scales[s] == 1);
      if (!format.integer_scales || !format.has_min) REQUIRE(parts.mins[s] == (format.has_min ? 1 : 0));
      const double value = format.codebook ? format.codebook[code] : static_cast<int>(code) - format.offset;
      const double product = static_cast<double>(parts.scale) * parts.scales[s] * value;
      const auto rounded = static_cast<float>(product);         // infinite for the largest MXFP4 scales
      if (std::isfinite(rounded)) REQUIRE(rounded == product);  // exact, so that no order of operations matters
      values.push_back(rounded - parts.min * parts.mins[s]);
    }
    CHECK(same_bits(values, golden.values));
  }
}

TEST_CASE("plain types decode as rows too") {
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x8000};
  float values[3];
  decode_row(NACELLE_TYPE_F16, reinterpret_cast<const std::uint8_t*>(halves), 3, values);
  CHECK(same_bits({values, values + 3}, {1, -2, -0.0f}));
  decode_row(NACELLE_TYPE_BF16, reinterpret_cast<const std::uint8_t*>(halves), 3, values);
  CHECK(same_bits({values, values + 3}, {0x1p-7f, -2, -0.0f}));
  const float floats[] = {0.1f, -0.0f, 3};
  decode_row(NACELLE_TYPE_F32, reinterpret_cast<const std::uint8_t*>(floats), 3, values);
  CHECK(same_bits({values, values + 3}, {0.1f, -0.0f, 3}));
  CHECK_FALSE(block_format(NACELLE_TYPE_F16));
  CHECK_FALSE(block_format(NACELLE_TYPE_INVALID));
  CHECK_FALSE(block_format(NACELLE_TYPE_MXFP4 + 1));
}
