// Matmul kernels against float64 sums over what the weights and the encoded activations really hold, and bit by bit
// against themselves for other counts of rows and columns.
#include <nacelle/graph.h>

#include <cstring>
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

void put_half(std::uint8_t* to, float x) {
  const std::uint16_t half = float_to_half(x);
  std::memcpy(to, &half, 2);
}

Weights random_weights(std::uint32_t type, std::uint32_t n, std::uint32_t k) {
  Weights w;
  w.row_bytes = row_bytes(type, k);
  w.stored.resize(n * w.row_bytes);
  w.values.resize(std::size_t{n} * k);
  std::mt19937 random(n * 7919 + k);
  const std::vector<float> floats = random_floats(std::size_t{n} * k, n + k);
  for (std::uint32_t r = 0; r < n; ++r)
    for (std::uint32_t c = 0; c < k; ++c) {
      std::uint8_t* row = w.stored.data() + r * w.row_bytes;
      double& value = w.values[std::size_t{r} * k + c];
      const float x = floats[std::size_t{r} * k + c];
      const std::uint32_t block = c / 32, i = c % 32;
      const float scale = half_to_float(float_to_half(0.01f + 0.001f * static_cast<float>((r + block) % 7)));
      switch (type) {
        case NACELLE_TYPE_F32:
          std::memcpy(row + 4 * c, &x, 4);
          value = x;
          break;
        case NACELLE_TYPE_F16:
          put_half(row + 2 * c, x);
          value = half_to_float(float_to_half(x));
          break;
        case NACELLE_TYPE_BF16: {
          const std::uint16_t half = float_to_bfloat16(x);
          std::memcpy(row + 2 * c, &half, 2);
          value = bfloat16_to_float(half);
          break;
        }
        case NACELLE_TYPE_Q8_0: {  // the whole range, -128 too
          const auto q = static_cast<std::int8_t>(random());
          put_half(row + block * 34, scale);
          row[block * 34 + 2 + i] = static_cast<std::uint8_t>(q);
          value = static_cast<double>(scale) * q;
          break;
        }
        default: {
          const auto q = static_cast<std::uint8_t>(random() & 15);
          put_half(row + block * 18, scale);
          std::uint8_t& byte = row[block * 18 + 2 + i % 16];
          byte = static_cast<std::uint8_t>(i < 16 ? (byte & 0xf0) | q : (byte & 0x0f) | q << 4);
          value = static_cast<double>(scale) * (q - 8);
        }
      }
    }
  return w;
}

std::vector<std::uint8_t> pack(std::uint32_t type, const Weights& w, std::uint32_t n, std::uint32_t k) {
  std::vector<std::uint8_t> packed(packed_groups(n) * packed_group_bytes(type, k), 0xff);
  for (std::uint32_t g = 0; g < packed_groups(n); ++g)
    pack_group(type, w.stored.data() + g * kGroupRows * w.row_bytes, w.row_bytes,
               std::min(kGroupRows, n - g * kGroupRows), k, packed.data() + g * packed_group_bytes(type, k));
  return packed;
}

// A row as the variant sees it: quantised and read back, or rounded to bf16, or itself. By the rule of kernels.hpp.
std::vector<double> as_encoded(const MatmulVariant& variant, const float* x, std::uint32_t k) {
  std::vector<double> out(x, x + k);
  if (variant.activation == Activation::kBf16)
    for (double& value : out) value = bfloat16_to_float(float_to_bfloat16(static_cast<float>(value)));
  if (variant.activation == Activation::kInt8 || variant.activation == Activation::kInt16)
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
  std::vector<std::uint8_t> encoded, packed;
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
      const MatmulCall call{packed.data() + g * bytes,
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

bool is_block_type(std::uint32_t type) { return type == NACELLE_TYPE_Q8_0 || type == NACELLE_TYPE_Q4_0; }

}  // namespace

TEST_CASE("matmul kernels: the definition's sums at odd shapes") {
  for_variants([](const MatmulVariant& variant) {
    const bool blocks = is_block_type(variant.weight);
    for (const std::uint32_t k :
         blocks ? std::vector<std::uint32_t>{32, 64, 96, 1056} : std::vector<std::uint32_t>{1, 2, 33, 130})
      for (const std::uint32_t n : {1u, 15u, 17u, 33u})
        for (const std::uint32_t rows : {1u, 2u, 7u, 33u}) {
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
  });
}

TEST_CASE("matmul kernels: the same bits whatever rows and columns share a call") {
  for_variants([](const MatmulVariant& variant) {
    const std::uint32_t rows = 33, n = 290, k = 224;
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

TEST_CASE("a numerics class gives equal bits in all its variants on block types") {
  for (const std::uint32_t type : {NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_0}) {
    std::vector<float> first;
    for_matmul_variants(type, [&](const MatmulVariant& variant) {
      if (variant.isa == Isa::kPortable || variant.isa > detect_isa()) return;  // portable has no fused multiply-add
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
      const std::size_t bytes = variant.activation == Activation::kInt16 ? 128 : 64;
      float scales[2];
      std::memcpy(scales, row.data() + bytes, sizeof scales);
      INFO(variant.name << " " << value);
      CHECK(scales[0] == (value > 1e-30f ? value / 127.0f : 0.0f));
      CHECK(scales[1] == scales[0]);
    }
  });
}

TEST_CASE("a packed row reads back as it was stored") {
  for (const std::uint32_t type :
       {NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_BF16, NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_0}) {
    const std::uint32_t n = 19, k = is_block_type(type) ? 96 : 33;
    const Weights w = random_weights(type, n, k);
    const auto packed = pack(type, w, n, k);
    std::vector<float> row(k);
    for (std::uint32_t r = 0; r < n; ++r) {
      unpack_row(type, packed.data(), r, k, 2.0f, row.data());
      for (std::uint32_t c = 0; c < k; ++c) REQUIRE(row[c] == 2 * static_cast<float>(w.values[std::size_t{r} * k + c]));
    }
  }
}
