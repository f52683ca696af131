// Matmul kernels against float64 sums over what the weights and the encoded activations really hold, and bit by bit
// against themselves for other counts of rows and columns.
#include <nacelle/graph.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle;
using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

namespace {

// Weights as a file stores them, and as numbers.
struct Weights {
  std::vector<std::uint8_t> stored;
  std::vector<double> values;  // [n, k]
  std::uint64_t row_bytes;
};

// Random codes and integer scales; the f16 scales and mins (MXFP4: exponents) are of either sign and near 0.01, or
// zero, or subnormal.
void randomise_block(const BlockFormat& format, std::mt19937& random, std::uint8_t* block) {
  const std::uint32_t bytes = type_info(format.type)->block_bytes;
  for (std::uint32_t i = 0; i < bytes; ++i) block[i] = static_cast<std::uint8_t>(random());
  const auto put = [&](std::uint32_t at) {
    std::uint16_t half = float_to_half((random() % 2 ? 0.01f : -0.01f) + 0.001f * static_cast<float>(random() % 7));
    if (random() % 6 == 0) half &= random() % 2 ? 0x8000 : 0x803f;
    std::memcpy(block + at, &half, 2);
  };
  if (format.type == NACELLE_TYPE_MXFP4) {
    block[0] = static_cast<std::uint8_t>(118 + random() % 6);
    return;
  }
  put(format.scale_at);
  if (format.has_min) put(format.min_at);
}

Weights random_weights(std::uint32_t type, std::uint32_t n, std::uint32_t k) {
  Weights w;
  w.row_bytes = row_bytes(type, k);
  w.stored.resize(n * w.row_bytes);
  std::mt19937 random(n * 7919 + k);
  if (const BlockFormat* format = block_format(type)) {
    const std::uint32_t bytes = type_info(type)->block_bytes;
    for (std::size_t at = 0; at < w.stored.size(); at += bytes) randomise_block(*format, random, &w.stored[at]);
  } else {
    const std::vector<float> floats = random_floats(std::size_t{n} * k, n + k);
    for (std::size_t i = 0; i < floats.size(); ++i) {
      const std::uint16_t half = type == NACELLE_TYPE_F16 ? float_to_half(floats[i]) : float_to_bfloat16(floats[i]);
      if (type == NACELLE_TYPE_F32)
        std::memcpy(&w.stored[4 * i], &floats[i], 4);
      else
        std::memcpy(&w.stored[2 * i], &half, 2);
    }
  }
  std::vector<float> row(k);  // decode_row is held against an independent decoder by its own test
  for (std::uint32_t r = 0; r < n; ++r) {
    decode_row(type, w.stored.data() + r * w.row_bytes, k, row.data());
    w.values.insert(w.values.end(), row.begin(), row.end());
  }
  return w;
}

// Packed weights are aligned to cache lines.
struct alignas(64) Line {
  std::uint8_t bytes[64];
};
std::uint8_t* bytes_of(std::vector<Line>& lines) { return reinterpret_cast<std::uint8_t*>(lines.data()); }
const std::uint8_t* bytes_of(const std::vector<Line>& lines) {
  return reinterpret_cast<const std::uint8_t*>(lines.data());
}

std::vector<Line> pack(std::uint32_t type, const Weights& w, std::uint32_t n, std::uint32_t k) {
  std::vector<Line> packed(packed_groups(n) * packed_group_bytes(type, k) / sizeof(Line));
  std::memset(packed.data(), 0xff, packed.size() * sizeof(Line));
  for (std::uint32_t g = 0; g < packed_groups(n); ++g)
    pack_group(type, w.stored.data() + g * kGroupRows * w.row_bytes, w.row_bytes,
               std::min(kGroupRows, n - g * kGroupRows), k, bytes_of(packed) + g * packed_group_bytes(type, k));
  return packed;
}

// A row as the variant sees it: quantised and read back, or rounded to bf16, or itself. By the rule of kernels.hpp.
std::vector<double> as_encoded(const MatmulVariant& variant, const float* x, std::uint32_t k) {
  std::vector<double> out(x, x + k);
  if (variant.activation == Activation::kBf16)
    for (double& value : out) value = bfloat16_to_float(float_to_bfloat16(static_cast<float>(value)));
  if (variant.activation == Activation::kInt8)
    for (std::uint32_t first = 0; first < k; first += 32) {
      float peak = 0;
      for (std::uint32_t i = 0; i < 32; ++i) peak = std::fmax(peak, std::fabs(x[first + i]));
      const float inverse = peak > 0 ? 127.0f / peak : 0;
      for (std::uint32_t i = 0; i < 32; ++i) out[first + i] = std::nearbyint(x[first + i] * inverse) * (peak / 127.0f);
    }
  return out;
}

struct Problem {
  const MatmulVariant& variant;
  std::uint32_t rows, n, k;
  std::vector<float> x;
  std::vector<std::uint8_t> encoded;
  std::vector<Line> packed;
  std::uint64_t x_stride;
  Weights weights;

  Problem(const MatmulVariant& v, std::uint32_t row_count, std::uint32_t columns, std::uint32_t depth)
      : variant(v), rows(row_count), n(columns), k(depth), x(random_floats(std::size_t{rows} * k, rows + k)) {
    weights = random_weights(variant.weight, n, k);
    packed = pack(variant.weight, weights, n, k);
    x_stride = encoded_row_bytes(variant.activation, k);
    encoded.assign(rows * x_stride, 0xff);  // NaN past the row's end: no kernel may read it
    for (std::uint32_t r = 0; r < rows; ++r) {
      std::uint8_t* to = encoded.data() + r * x_stride;
      if (variant.encode)
        variant.encode(x.data() + std::size_t{r} * k, k, 0, (k + 31) / 32, to);
      else
        std::memcpy(to, x.data() + std::size_t{r} * k, k * 4);
    }
  }

  // Rows [row, row + count) of all columns, `groups` groups a call.
  void multiply(std::uint32_t row, std::uint32_t count, std::uint32_t groups, std::vector<float>& out) const {
    const std::uint64_t stride = packed_groups(n) * kGroupRows, bytes = packed_group_bytes(variant.weight, k);
    out.resize(rows * stride);
    for (std::uint32_t g = 0; g < packed_groups(n); g += groups) {
      const MatmulCall call{bytes_of(packed) + g * bytes,
                            bytes,
                            k,
                            count,
                            encoded.data() + row * x_stride,
                            x_stride,
                            out.data() + row * stride + g * kGroupRows,
                            stride};
      variant.multiply(call, std::min<std::uint32_t>(groups, static_cast<std::uint32_t>(packed_groups(n)) - g));
    }
  }
};

template <class Body>
void for_variants(Body body) {
  for (const KernelTable* table : usable_tables())
    for (std::uint32_t i = 0; i < table->matmul_count; ++i) body(table->matmul[i]);
}

bool is_block_type(std::uint32_t type) { return block_format(type) != nullptr; }

std::vector<std::uint32_t> depths(std::uint32_t type) {
  const BlockFormat* format = block_format(type);
  if (!format) return {1, 2, 33, 130};
  return format->elements == 256 ? std::vector<std::uint32_t>{256, 768} : std::vector<std::uint32_t>{32, 64, 96, 1056};
}

// A kernel's products against the sums of its definition in double precision.
void check_sums(const MatmulVariant& variant, std::uint32_t rows, std::uint32_t n, std::uint32_t k) {
  INFO(variant.name << " rows " << rows << " n " << n << " k " << k);
  const Problem problem(variant, rows, n, k);
  std::vector<float> padded, actual;
  problem.multiply(0, rows, 2, padded);
  std::vector<double> expected;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const auto x = as_encoded(variant, problem.x.data() + std::size_t{r} * k, k);
    for (std::uint32_t c = 0; c < n; ++c) {
      double sum = 0;
      for (std::uint32_t i = 0; i < k; ++i) sum += x[i] * problem.weights.values[std::size_t{c} * k + i];
      expected.push_back(sum);
      actual.push_back(padded[r * packed_groups(n) * kGroupRows + c]);
    }
  }
  CHECK(worst(expected, actual) < 2e-5);
}

}  // namespace

TEST_CASE("matmul kernels: the definition's sums at odd shapes") {
  for_variants([](const MatmulVariant& variant) {
    for (const std::uint32_t k : depths(variant.weight))
      for (const std::uint32_t n : {1u, 15u, 17u, 33u})
        for (const std::uint32_t rows : {1u, 2u, 7u, 17u, 33u}) check_sums(variant, rows, n, k);
  });
}

TEST_CASE("matmul kernels: what streams weights, also beside a row that L1 does not keep") {
  for_variants([](const MatmulVariant& variant) {
    if (variant.lone_row != LoneRow::kAlike)
      for (const std::uint32_t k : {2048u, 2304u}) check_sums(variant, 1, 33, k);
  });
}

TEST_CASE("matmul kernels: the same bits whatever rows and columns share a call") {
  for_variants([](const MatmulVariant& variant) {
    const std::uint32_t rows = 33, n = 290, k = 256;
    const Problem problem(variant, rows, n, k);
    std::vector<float> alone, together;
    for (std::uint32_t r = 0; r < rows; ++r) problem.multiply(r, 1, 1, alone);
    for (const std::uint32_t count : {2u, 7u, 16u, 33u})
      for (const std::uint32_t groups : {1u, 2u, 19u}) {
        INFO(variant.name << " rows " << count << " groups " << groups);
        together.clear();
        for (std::uint32_t r = 0; r < rows; r += count)
          problem.multiply(r, std::min(count, rows - r), groups, together);
        CHECK(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0);
      }
    std::vector<float> many;
    for (std::uint32_t r = 0; r < rows; ++r) problem.multiply(r, 1, 19, many);  // the lone row's own tile
    CHECK(std::memcmp(alone.data(), many.data(), alone.size() * sizeof(float)) == 0);
  });
}

TEST_CASE("matmul kernels: a row that is not finite is NaN in every column, and its neighbours are as before") {
  for_variants([](const MatmulVariant& variant) {
    if (!is_block_type(variant.weight)) return;
    const std::uint32_t rows = 19, n = 70, k = 768, stride = packed_groups(n) * kGroupRows;
    Problem problem(variant, rows, n, k);
    std::vector<float> before, after;
    problem.multiply(0, rows, 5, before);
    for (const std::uint32_t bad : {0u, 6u, 18u})
      for (const float value : {NAN, INFINITY, -INFINITY}) {
        INFO(variant.name << " row " << bad << " " << value);
        std::vector<float> x(problem.x.begin() + bad * k, problem.x.begin() + (bad + 1) * k);
        x[k - 40] = value;
        const Problem sound = problem;
        variant.encode(x.data(), k, 0, k / 32, problem.encoded.data() + bad * problem.x_stride);
        problem.multiply(0, rows, 5, after);
        for (std::uint32_t r = 0; r < rows; ++r)
          for (std::uint32_t c = 0; c < n; ++c) {
            const float is = after[r * stride + c];
            REQUIRE((r == bad ? std::isnan(is) : is == before[r * stride + c]));
          }
        problem.encoded = sound.encoded;
      }
  });
}

TEST_CASE("a numerics class gives equal bits in all its variants on block types") {
  for (const TypeInfo& info : kTypes) {
    const nacelle_type type = info.type;
    if (!is_block_type(type)) continue;
    std::vector<float> first;
    for_matmul_variants(type, [&](const MatmulVariant& variant) {
      if (variant.isa == Isa::kPortable || !detect_isa().has(variant.isa))
        return;  // portable has no fused multiply-add
      std::vector<float> out;
      Problem(variant, 7, 48, 256).multiply(0, 7, 3, out);
      if (first.empty()) first = out;
      INFO(variant.name);
      CHECK(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)) == 0);
    });
  }
}

TEST_CASE("activations: zeros, one spike, tiny and huge values are encoded without a NaN") {
  for_variants([](const MatmulVariant& variant) {
    if (!is_block_type(variant.weight)) return;
    for (const float value : {0.0f, 1e-38f, 1e-42f, 3e38f}) {
      std::vector<float> x(64, 0.0f);
      x[5] = value;
      x[40] = -value;
      std::vector<std::uint8_t> row(encoded_row_bytes(variant.activation, 64));
      variant.encode(x.data(), 64, 0, 2, row.data());
      float scales[2];
      std::memcpy(scales, row.data() + 64, sizeof scales);
      INFO(variant.name << " " << value);
      CHECK(scales[0] == (value > 1e-30f ? value / 127.0f : 0.0f));
      CHECK(scales[1] == scales[0]);
    }
  });
}

TEST_CASE("a packed row reads back as it was stored") {
  for (const TypeInfo& info : kTypes) {
    const nacelle_type type = info.type;
    if (!packable(type)) continue;
    const std::uint32_t n = 19, k = is_block_type(type) ? 3 * block_format(type)->elements : 33;
    const Weights w = random_weights(type, n, k);
    const auto packed = pack(type, w, n, k);
    std::vector<float> row(k);
    for (std::uint32_t r = 0; r < n; ++r) {
      unpack_row(type, bytes_of(packed), r, k, 2.0f, row.data());
      for (std::uint32_t c = 0; c < k; ++c) REQUIRE(row[c] == 2 * static_cast<float>(w.values[std::size_t{r} * k + c]));
    }
  }
}
