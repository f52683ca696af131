// The row-wise kernels at every level that runs here: norms, activations, rotations, sums, and the encodings of
// activations, on rows of a layer's usual width. Their floor is reading the row from memory: above 1 they are never
// what a model waits for.
#include <nacelle/graph.h>

#include <functional>
#include <string>
#include <vector>

#include "backends/cpu/registry.hpp"
#include "tests/bench/kernels/bench.hpp"

namespace nacelle::cpu {
namespace {

constexpr std::uint32_t kWidth = 2048, kRows = 48;  // that stay in the cache, as in a step

// Rows for every operand that a kernel may have.
struct Operands {
  std::vector<float> a, b, out;
  std::vector<std::uint8_t> encoded;

  Operands() : a(kRows * kWidth), b(kRows * kWidth), out(kRows * kWidth), encoded(kRows * kWidth * sizeof(float) * 2) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<float>(i % 17) / 4 - 2.0f;
      b[i] = static_cast<float>(i % 13) / 4 - 1.5f;
    }
  }
};

// `run` on each of kRows rows, of which `operands` are read.
void measure(benchmark::State& state, const Machine& machine, int operands,
             const std::function<void(Operands&, std::uint32_t row)>& run) {
  Operands rows;
  for (auto _ : state) {
    for (std::uint32_t row = 0; row < kRows; ++row) run(rows, row);
    benchmark::ClobberMemory();
  }
  set_counters(state, machine, static_cast<double>(operands) * kRows * kWidth * sizeof(float), 0, 0);
}

void add(const std::string& name, const Machine& machine, int operands,
         std::function<void(Operands&, std::uint32_t row)> run) {
  benchmark::RegisterBenchmark(name.c_str(), [&machine, operands, run = std::move(run)](benchmark::State& state) {
    measure(state, machine, operands, run);
  })->Unit(benchmark::kMicrosecond);
}

void add_vectors(const std::string& level, const VectorKernels& k, const Machine& machine) {
  const auto on = [&](const char* name, int operands, auto run) {
    add("vectors/" + std::string(name) + "/" + level, machine, operands, [run, &k](Operands& of, std::uint32_t row) {
      const std::uint64_t at = std::uint64_t{row} * kWidth;
      run(k, &of.a[at], &of.b[at], &of.out[at]);
    });
  };
  on("rms_norm", 1, [](const VectorKernels& of, const float* a, const float* b, float* out) {
    of.rms_norm(a, b, 0, 1e-5f, kWidth, out);
  });
  on("layer_norm", 1, [](const VectorKernels& of, const float* a, const float* b, float* out) {
    of.layer_norm(a, b, nullptr, 0, 1e-5f, kWidth, out);
  });
  on("softmax", 1,
     [](const VectorKernels& of, const float* a, const float*, float* out) { of.softmax(a, kWidth, out); });
  on("add", 2, [](const VectorKernels& of, const float* a, const float* b, float* out) { of.add(a, b, kWidth, out); });
  on("gated_silu", 2, [](const VectorKernels& of, const float* a, const float* b, float* out) {
    of.gated({NACELLE_ACT_SILU, 0, 1, 0}, a, b, kWidth, out);
  });
  on("gelu_tanh", 1, [](const VectorKernels& of, const float* a, const float*, float* out) {
    of.unary(NACELLE_ACT_GELU_TANH, a, kWidth, out);
  });
  on("rotate_half", 1, [](const VectorKernels& of, const float* a, const float* b, float* out) {
    for (std::uint32_t head = 0; head < kWidth; head += 64) of.rotate_half(a + head, b, b + 32, 32, out + head);
  });
  on("summarise", 1, [](const VectorKernels& of, const float* a, const float*, float* out) {
    benchmark::DoNotOptimize(of.summarise(a, kWidth, out));
  });
}

}  // namespace

void add_vector_benchmarks(const Machine& machine) {
  for (const KernelTable* table : kernel_tables()) {
    if (!machine.isa.has(table->isa)) continue;
    if (table->vectors) add_vectors(to_string(table->isa), *table->vectors, machine);
    for (std::uint32_t i = 0; i < table->matmul_count; ++i)
      if (const auto encode = table->matmul[i].encode)
        add("encode/" + std::string(table->matmul[i].name), machine, 1, [encode](Operands& of, std::uint32_t row) {
          encode(&of.a[std::uint64_t{row} * kWidth], kWidth, 0, kWidth / kQuantBlock,
                 &of.encoded[std::uint64_t{row} * kWidth * sizeof(float)]);
        });
  }
}

}  // namespace nacelle::cpu
