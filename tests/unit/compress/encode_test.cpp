// The encoders: blocks are put together as they are taken apart, and no type loses more than llama.cpp's quantizer does
// to the same weights (goldens.json, by make_goldens.py).
#include "core/compress/encode.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nacelle/block_formats.hpp>
#include <random>
#include <vector>

#include "core/compress/pack_block.hpp"
#include "tests/unit/compress/goldens.hpp"

namespace nacelle::compress {
namespace {

constexpr std::size_t kRows = 8, kColumns = 1024;

// splitmix64, as make_goldens.py has it.
double uniform(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = ((seed << 32) + index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return static_cast<double>((z ^ z >> 31) >> 11) / 0x1p53;
}

std::vector<float> weights(const std::string& kind) {
  std::vector<float> out(kRows * kColumns);
  for (std::size_t i = 0; i < out.size(); ++i) {
    double x = uniform(1, i) + uniform(2, i) + uniform(3, i) + uniform(4, i) - 2;
    if (kind == "heavy") x = x * x * x;
    if (kind == "shifted") x += 0.5;
    out[i] = static_cast<float>(0.05 * x);
  }
  return out;
}

std::vector<float> channel_weights() {
  std::vector<float> out(kColumns);
  for (std::size_t i = 0; i < kColumns; ++i) out[i] = static_cast<float>(std::pow(uniform(5, i), 4) * 10 + 0.01);
  return out;
}

// Encoded and decoded.
std::vector<float> through(nacelle_type type, std::span<const float> row, std::span<const float> weight) {
  const TypeInfo& info = *type_info(type);
  std::vector<std::uint8_t> bytes(row.size() / info.block_elements * info.block_bytes);
  encode_row(type, row, weight, bytes.data());
  std::vector<float> out(row.size());
  decode_row(type, bytes.data(), out.size(), out.data());
  return out;
}

}  // namespace

TEST_CASE("blocks are put together as they are taken apart", "[compress]") {
  std::mt19937 random(7);
  for (const TypeInfo& info : kTypes) {
    const BlockFormat* format = block_format(info.type);
    if (!format) continue;
    CAPTURE(info.name);
    for (int round = 0; round < 50; ++round) {
      std::vector<std::uint8_t> block(info.block_bytes), again(info.block_bytes);
      for (std::uint8_t& byte : block) byte = static_cast<std::uint8_t>(random());
      if (info.type != NACELLE_TYPE_MXFP4) block[format->scale_at + 1] &= 0xbb;  // finite halves
      if (format->has_min) block[format->min_at + 1] &= 0xbb;
      BlockParts parts;
      take_apart(info.type, block.data(), parts);
      put_together(info.type, parts, again.data());
      REQUIRE(block == again);
    }
  }
}

TEST_CASE("every type loses less than with llama.cpp", "[compress]") {
  const JsonNode goldens = read_goldens();
  const std::vector<float> weight = channel_weights();
  for (const TypeInfo& info : kTypes) {
    if (!block_format(info.type)) continue;
    double ratios = 0;  // of the logarithms
    for (const char* kind : {"normal", "heavy", "shifted"}) {
      const std::vector<float> x = weights(kind);
      for (const bool weighed : {false, true}) {
        const std::string name = std::string(info.name) + " " + kind + (weighed ? " weighed" : "");
        CAPTURE(name);
        double error = 0, power = 0;
        RowError bound;
        for (std::size_t row = 0; row < kRows; ++row) {
          const std::span values(x.data() + row * kColumns, kColumns);
          const std::span<const float> used = weighed ? std::span<const float>(weight) : std::span<const float>();
          const std::vector<float> y = through(info.type, values, used);
          bound += row_error(info.type, values, y, used);
          for (std::size_t i = 0; i < kColumns; ++i) {
            const double w = weighed ? weight[i] : 1, d = static_cast<double>(values[i]) - y[i];
            error += w * d * d;
            power += w * static_cast<double>(values[i]) * values[i];
          }
        }
        const JsonNode* golden = goldens.find("errors")->find(name);
        REQUIRE(golden);
        CHECK(std::sqrt(error / power) <= 1.02 * golden->number);
        ratios += std::log(std::sqrt(error / power) / golden->number);
        CHECK(bound.error <= bound.limit);
      }
    }
    CAPTURE(info.name);
    CHECK(ratios < 0);
  }
}

TEST_CASE("odd rows are encoded within the bound", "[compress]") {
  std::mt19937 random(3);
  const auto fill = [&](int kind) {
    std::vector<float> row(512);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const float x = std::normal_distribution<float>()(random);
      switch (kind) {
        case 0: row[i] = 0; break;
        case 1: row[i] = 0.25f; break;  // all alike
        case 2: row[i] = -3.0f; break;
        case 3: row[i] = i % 37 == 0 ? 100 * x : 1e-4f * x; break;  // outliers
        case 4: row[i] = 1e-9f * x; break;                          // below what a half can say
        case 5: row[i] = 1e4f * x; break;
        case 6: row[i] = std::abs(x); break;
        default: row[i] = i % 64 == 5 ? -x : 0; break;
      }
    }
    return row;
  };
  for (const TypeInfo& info : kTypes) {
    if (!can_encode(info.type)) continue;
    for (int kind = 0; kind < 8; ++kind) {
      CAPTURE(info.name, kind);
      const std::vector<float> row = fill(kind);
      std::vector<float> weight(row.size(), 0.0f);
      for (std::size_t i = 0; i < 32; ++i) weight[i] = static_cast<float>(i);
      for (const bool weighed : {false, true}) {
        const std::span<const float> used = weighed ? std::span<const float>(weight) : std::span<const float>();
        const RowError error = row_error(info.type, row, through(info.type, row, used), used);
        CHECK(error.error <= error.limit);
      }
    }
  }
}

TEST_CASE("a damaged row is beyond the bound", "[compress]") {
  const std::vector<float> x = weights("normal");
  for (const nacelle_type type : {NACELLE_TYPE_F16, NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_K, NACELLE_TYPE_Q6_K}) {
    const std::span row(x.data(), kColumns);
    std::vector<float> y = through(type, row, {});
    std::fill(y.begin(), y.end(), 0.0f);
    const RowError error = row_error(type, row, y, {});
    CHECK(error.error > error.limit);
  }
}

}  // namespace nacelle::compress
