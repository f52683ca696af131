// The recurrence and the convolution at every level that runs here, in the shapes of Mamba-2 (heads of 128 keys and 64
// values, by addition) and Gated DeltaNet (128 and 128, by the delta rule). One row: what counts is reading and writing
// a state larger than the caches; the floor is a plain pass over as many bytes, timed beside it. Many rows: what counts
// is arithmetic: a multiply-add for the decay, one for the change and one for the query an element of the state, and by
// the delta rule one more for what the state recalls; a decay's multiplication takes the place of one.
#include <nacelle/graph.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "backends/cpu/registry.hpp"
#include "tests/bench/kernels/bench.hpp"

namespace nacelle::cpu {
namespace {

struct Shape {
  const char* name;
  std::uint32_t rule, heads, keys, values;
  std::uint64_t state() const { return std::uint64_t{heads} * keys * values; }
  double operations() const { return (rule == NACELLE_SCAN_DELTA ? 8.0 : 6.0) * static_cast<double>(state()); }
};

// One sequence, as a step has it: rows of all heads, and the state of `layers` layers one after the other.
class Sequence {
 public:
  Sequence(const Shape& shape, std::uint32_t rows, std::uint64_t layers)
      : shape_(shape),
        rows_(rows),
        layers_(layers),
        memory_(huge_memory(layers * shape.state() * sizeof(float))),
        state_(reinterpret_cast<float*>(memory_.get())),
        scratch_(huge_memory(scan_scratch(shape.keys) * sizeof(float))),
        q_(values(std::uint64_t{rows} * shape.heads * shape.keys, 0.02f)),
        v_(values(std::uint64_t{rows} * shape.heads * shape.values, 0.1f)),
        factors_(std::uint64_t{rows} * shape.heads, 0.9f),
        out_(v_.size()) {
    std::fill_n(state_, layers * shape.state(), 0.01f);
  }

  void run(const RecurrentKernels& kernels, std::uint64_t layer) {
    for (std::uint32_t h = 0; h < shape_.heads; ++h) {
      ScanCall call{};
      call.rule = shape_.rule;
      call.rows = rows_;
      call.key_width = shape_.keys;
      call.columns = shape_.values;
      call.q = call.k = &q_[std::uint64_t{h} * shape_.keys];
      call.v = &v_[std::uint64_t{h} * shape_.values];
      call.decays = call.strengths = &factors_[h];
      call.scale = 1;
      call.state = state_ + layer * shape_.state() + std::uint64_t{h} * shape_.keys * shape_.values;
      call.out = &out_[std::uint64_t{h} * shape_.values];
      call.next = h + 1 < shape_.heads ? call.state + std::uint64_t{shape_.keys} * shape_.values : nullptr;
      call.scratch = reinterpret_cast<float*>(scratch_.get());
      call.q_stride = call.k_stride = std::uint64_t{shape_.heads} * shape_.keys;
      call.v_stride = call.out_stride = std::uint64_t{shape_.heads} * shape_.values;
      call.decay_stride = call.strength_stride = shape_.heads;
      call.state_stride = shape_.values;
      kernels.scan(call);
    }
  }
  // Reads and writes the states as plainly as can be; seconds, best of some. Multiplying by 1 leaves them as they are.
  double plain_seconds(const VectorKernels& kernels) {
    double best = 1e9;
    for (int i = 0; i < 8; ++i) {
      const auto start = std::chrono::steady_clock::now();
      for (std::uint64_t at = 0; at < layers_ * shape_.state(); at += kPiece)
        kernels.scale(state_ + at, 1, 0, 0, kPiece, state_ + at);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best / static_cast<double>(layers_);
  }

 private:
  static constexpr std::uint32_t kPiece = 1 << 14;

  static std::vector<float> values(std::uint64_t count, float scale) {
    std::vector<float> out(count);
    for (std::uint64_t i = 0; i < count; ++i) out[i] = scale * (static_cast<float>(i * 2654435761u % 1000) / 500 - 1);
    return out;
  }

  Shape shape_;
  std::uint32_t rows_;
  std::uint64_t layers_;
  Memory memory_;
  float* state_;
  Memory scratch_;
  std::vector<float> q_, v_, factors_, out_;
};

constexpr std::uint64_t kStates = 256 << 20;  // bytes, beyond any cache

void one_row(benchmark::State& state, const Shape& shape, const KernelTable& table) {
  const std::uint64_t layers = kStates / (shape.state() * sizeof(float));
  Sequence sequence(shape, 1, layers);
  double floor_seconds = sequence.plain_seconds(*table.vectors);
  std::uint64_t layer = 0;
  for (auto _ : state) {
    sequence.run(*table.recurrent, layer);
    layer = (layer + 1) % layers;
  }
  floor_seconds = std::min(floor_seconds, sequence.plain_seconds(*table.vectors));
  constexpr auto kRate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["bytes"] = benchmark::Counter(2.0 * static_cast<double>(shape.state()) * sizeof(float), kRate);
  state.counters["of_floor"] = benchmark::Counter(floor_seconds, kRate);
}

void many_rows(benchmark::State& state, const Shape& shape, const KernelTable& table, const Machine& machine) {
  constexpr std::uint32_t kRows = 512;
  Sequence sequence(shape, kRows, 1);
  for (auto _ : state) sequence.run(*table.recurrent, 0);
  set_counters(state, machine, 0, kRows * shape.operations(), machine.ceilings.f32_ops);
}

// 512 rows of Mamba-2's 4,352 columns by filters of 4, with SiLU. The floor is the rows read and written.
void convolution(benchmark::State& state, const KernelTable& table, const Machine& machine) {
  constexpr std::uint32_t kRows = 512, kColumns = 4352, kLength = 4, kPiece = 512;
  std::vector<float> x(std::size_t{kRows} * kColumns, 0.5f), out(x.size()), filters(kLength * kColumns, 0.25f),
      window((kLength - 1) * kColumns);
  for (auto _ : state)
    for (std::uint32_t column = 0; column < kColumns; column += kPiece) {
      ConvolutionCall call{};
      call.rows = kRows;
      call.columns = std::min(kPiece, kColumns - column);
      call.length = kLength;
      call.activation = NACELLE_ACT_SILU;
      call.x = &x[column];
      call.filters = &filters[column];
      call.state = &window[column];
      call.out = &out[column];
      call.x_stride = call.filter_stride = call.state_stride = call.out_stride = kColumns;
      table.recurrent->convolve(call);
    }
  set_counters(state, machine, 2.0 * static_cast<double>(x.size()) * sizeof(float), 0, 0);
}

}  // namespace

void add_recurrent_benchmarks(const Machine& machine) {
  static constexpr Shape kShapes[] = {{"add", NACELLE_SCAN_ADD, 64, 128, 64},
                                      {"delta", NACELLE_SCAN_DELTA, 32, 128, 128}};
  for (const KernelTable* table : kernel_tables()) {
    if (!machine.isa.has(table->isa) || !table->recurrent) continue;
    const std::string level = to_string(table->isa);
    for (const Shape& shape : kShapes) {
      const auto name = [&](const char* rows) {
        return "scan_" + std::string(shape.name) + "/" + std::to_string(shape.keys) + "x" +
               std::to_string(shape.values) + "/" + rows + "/" + level;
      };
      benchmark::RegisterBenchmark(name("rows:1").c_str(), [&shape, table](benchmark::State& state) {
        one_row(state, shape, *table);
      })->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(name("rows:512").c_str(), [&shape, table, &machine](benchmark::State& state) {
        many_rows(state, shape, *table, machine);
      })->Unit(benchmark::kMicrosecond);
    }
    benchmark::RegisterBenchmark(("convolution/4352/rows:512/" + level).c_str(), [table,
                                                                                  &machine](benchmark::State& state) {
      convolution(state, *table, machine);
    })->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace nacelle::cpu
