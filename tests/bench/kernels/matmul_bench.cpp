// Every matmul variant that runs here: at one row and at 16, whose weights are many times the caches, as in decoding;
// and at a prompt's 512, of a layer's usual width and of the longest rows that real models have.
#include <algorithm>
#include <cstring>
#include <nacelle/types.hpp>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/packing.hpp"
#include "backends/cpu/registry.hpp"
#include "tests/bench/kernels/bench.hpp"

namespace nacelle::cpu {
namespace {

struct Shape {
  std::uint32_t rows, n, k;
};
constexpr Shape kShapes[] = {
    {1, 131072, 2048}, {16, 131072, 2048}, {512, 4864, 896}, {512, 2048, 2048}, {512, 768, 8192}};
constexpr std::uint32_t kRows = 48;  // that take a stretch of columns together, as in the backend

// Packed weights; scales and floats stay near 1, so that nothing is subnormal. What repeats is longer than a panel.
Memory random_weights(std::uint64_t size) {
  Memory bytes = huge_memory(size);
  std::mt19937 random(1);
  const std::size_t some = std::min<std::size_t>(size, 1u << 20) / 2 * 2;
  for (std::size_t i = 0; i < some; i += 2) {
    const auto half = static_cast<std::uint16_t>(0x3c00 | (random() & 0x83ff));
    std::memcpy(bytes.get() + i, &half, 2);
  }
  for (std::size_t at = some, part; at < size; at += part) {
    part = std::min<std::size_t>(size - at, some);
    std::memcpy(bytes.get() + at, bytes.get(), part);
  }
  return bytes;
}

Memory activations(const MatmulVariant& variant, const Shape& shape) {
  const std::uint64_t stride = encoded_row_bytes(variant.activation, shape.k);
  Memory x = huge_memory(stride * shape.rows + 64);
  std::vector<float> row(shape.k);
  for (std::uint32_t i = 0; i < shape.k; ++i) row[i] = static_cast<float>(i % 17) - 8.0f;
  const std::uint32_t blocks = (shape.k + kQuantBlock - 1) / kQuantBlock;
  for (std::uint32_t r = 0; r < shape.rows; ++r) {
    if (variant.encode)
      variant.encode(row.data(), shape.k, 0, blocks, x.get() + r * stride);
    else
      std::memcpy(x.get() + r * stride, row.data(), shape.k * sizeof(float));
  }
  return x;
}

double peak_of(const MatmulVariant& variant, const nacelle_ceilings& ceilings) {
  switch (variant.activation) {
    case Activation::kInt8: return ceilings.int8_ops;
    case Activation::kBf16: return ceilings.bf16_ops;
    case Activation::kFloat: return ceilings.f32_ops;
  }
  return 0;
}

void multiply(benchmark::State& state, const Machine& machine, const MatmulVariant& variant, const Shape& shape) {
  const auto groups = static_cast<std::uint32_t>(packed_groups(shape.n));
  const std::uint64_t group_bytes = packed_group_bytes(variant.weight, shape.k);
  const Memory weights = random_weights(groups * group_bytes);
  const std::uint64_t x_stride = encoded_row_bytes(variant.activation, shape.k);
  const Memory x = activations(variant, shape);
  std::vector<float> out(std::size_t{shape.rows} * groups * kGroupRows);
  const std::uint32_t step = shape.rows == 1 ? 8 : variant.tile_groups;
  const std::uint32_t block = variant.row_block ? variant.row_block : kRows;
  for (auto _ : state) {
    for (std::uint32_t group = 0; group < groups; group += step)
      for (std::uint32_t first = 0; first < shape.rows; first += block) {
        const MatmulCall call{weights.get() + group * group_bytes,
                              group_bytes,
                              shape.k,
                              std::min(block, shape.rows - first),
                              x.get() + first * x_stride,
                              x_stride,
                              out.data() + (first * groups + group) * kGroupRows,
                              groups * kGroupRows};
        variant.multiply(call, std::min(step, groups - group));
      }
    benchmark::ClobberMemory();
  }
  set_counters(state, machine, static_cast<double>(groups * group_bytes), 2.0 * shape.rows * shape.n * shape.k,
               peak_of(variant, machine.ceilings));
}

}  // namespace

void add_matmul_benchmarks(const Machine& machine) {
  for (const Shape& shape : kShapes)
    for (const KernelTable* table : kernel_tables())
      for (std::uint32_t i = 0; machine.isa.has(table->isa) && i < table->matmul_count; ++i) {
        const MatmulVariant& variant = table->matmul[i];
        const std::string name = std::string(variant.name) + "/" + std::to_string(shape.rows) + "x" +
                                 std::to_string(shape.n) + "x" + std::to_string(shape.k);
        benchmark::RegisterBenchmark(name.c_str(), [&machine, &variant, shape](benchmark::State& state) {
          multiply(state, machine, variant, shape);
        })->Unit(benchmark::kMillisecond);
      }
}

}  // namespace nacelle::cpu
