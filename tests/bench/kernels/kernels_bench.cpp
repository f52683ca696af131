// How fast each matmul variant is on this machine, one thread: `bench_kernels [NAME-PART [rows N K]]`. For one row the
// weights are larger than the caches, as in decoding. Prints the median of several passes.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nacelle/types.hpp>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cpu/packing.hpp"
#include "backends/cpu/registry.hpp"

namespace {

using namespace nacelle::cpu;
using Clock = std::chrono::steady_clock;

struct Shape {
  std::uint32_t rows, n, k;
};

// Packed random weights; scales and floats stay near 1, so that nothing is subnormal.
std::span<std::uint8_t> random_weights(std::uint32_t type, const Shape& shape) {
  const std::size_t size = packed_groups(shape.n) * packed_group_bytes(type, shape.k);
  static constexpr std::size_t kHugePage = 2 << 20;  // as the host's allocator gives
  auto* bytes =
      static_cast<std::uint8_t*>(std::aligned_alloc(kHugePage, (size + 2 * kHugePage) / kHugePage * kHugePage));
  madvise(bytes, size, MADV_HUGEPAGE);
  std::mt19937 random(1);
  for (std::size_t i = 0; i + 1 < size; i += 2) {
    const std::uint16_t half = 0x3c00 | (random() & 0x83ff);
    bytes[i] = half & 0xff;
    bytes[i + 1] = half >> 8;
  }
  return {bytes, size};
}

void bench(const MatmulVariant& variant, const Shape& shape) {
  const auto weights = random_weights(variant.weight, shape);
  const std::uint64_t x_stride = encoded_row_bytes(variant.activation, shape.k);
  std::vector<std::uint8_t> x(x_stride * shape.rows + 64);
  std::vector<float> row(shape.k), out(std::size_t{shape.rows} * packed_groups(shape.n) * kGroupRows);
  for (std::uint32_t i = 0; i < shape.k; ++i) row[i] = static_cast<float>(i % 17) - 8.0f;
  const std::uint32_t blocks = (shape.k + kQuantBlock - 1) / kQuantBlock;
  for (std::uint32_t r = 0; r < shape.rows; ++r) {
    if (variant.encode)
      variant.encode(row.data(), shape.k, 0, blocks, x.data() + r * x_stride);
    else
      std::copy(row.begin(), row.end(), reinterpret_cast<float*>(x.data() + r * x_stride));
  }
  std::vector<double> seconds;
  const double macs = double(shape.rows) * shape.n * shape.k;
  const auto started = Clock::now();
  while (seconds.size() < 5 || (Clock::now() - started < std::chrono::milliseconds(400) && seconds.size() < 200)) {
    const auto before = Clock::now();
    // As the backend does: a stretch of columns for some rows, then the next rows.
    const std::uint32_t step = shape.rows == 1 ? 8 : variant.tile_groups;
    for (std::uint32_t group = 0; group < packed_groups(shape.n); group += step)
      for (std::uint32_t first = 0; first < shape.rows; first += 48) {
        MatmulCall call{weights.data() + group * packed_group_bytes(variant.weight, shape.k),
                        packed_group_bytes(variant.weight, shape.k),
                        shape.k,
                        std::min(48u, shape.rows - first),
                        x.data() + first * x_stride,
                        x_stride,
                        out.data() + (first * packed_groups(shape.n) + group) * kGroupRows,
                        packed_groups(shape.n) * kGroupRows};
        variant.multiply(call, std::min<std::uint32_t>(step, packed_groups(shape.n) - group));
      }
    seconds.push_back(std::chrono::duration<double>(Clock::now() - before).count());
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  std::printf("%-36s %5u x %6u x %6u  %8.3f ms  %8.1f GMAC/s  %7.1f GB/s\n", variant.name, shape.rows, shape.n, shape.k,
              median * 1e3, macs / median / 1e9, double(weights.size()) / median / 1e9);
  std::free(weights.data());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Shape> shapes = {{1, 32768, 2048}, {512, 2048, 2048}};
  const std::string_view part = argc > 1 ? argv[1] : "";
  const auto number = [&](int i) { return static_cast<std::uint32_t>(std::atoi(argv[i])); };
  if (argc > 4) shapes = {{number(2), number(3), number(4)}};
  std::printf("%s, %s\n", processor_name().c_str(), to_string(detect_isa().best()));
  for (const Shape& shape : shapes)
    for (const KernelTable* table : kernel_tables())
      for (std::uint32_t i = 0; i < table->matmul_count; ++i)
        if (detect_isa().has(table->isa) && std::string_view(table->matmul[i].name).find(part) != part.npos)
          bench(table->matmul[i], shape);
}
