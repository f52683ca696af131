// How an operation is run. Each kind has one function in an ops_*.cpp, whose comment gives the formula and where it
// comes from; the table in ops.cpp leads from the kind to the function. Activations are f32; sums are carried in
// double, so that the answer is as near the formula as f32 can tell and no order of summation is the right one. Every
// function works row by row: a row's result never depends on what else is in the step.
#pragma once

#include <cstdint>
#include <nacelle/plugin.hpp>
#include <span>
#include <vector>

#include "cache.hpp"
#include "replacement.hpp"
#include "step.hpp"
#include "view.hpp"
#include "weights.hpp"

namespace nacelle::reference {

// Where a value lies during a run. Its rows are `lead` (a number, or a symbolic extent resolved from the step) times
// `inner`.
struct Cell {
  void* data = nullptr;
  std::int64_t lead = 1;
  std::uint64_t inner = 1;
  std::uint64_t width = 1;
};

// The output block's arrays, and the adjusted logits kept for read_logits.
struct Selection {
  std::uint32_t candidates = 0;
  Indices ids;  // [output_rows, candidates]
  Matrix adjusted, raw;
  Matrix logsumexp;        // [output_rows, 2]
  Matrix adjusted_logits;  // [output_rows, vocabulary]
};

// What one run of a plan works on. The vectors of scratch keep their capacity from step to step.
struct Frame {
  const ReferenceWeights* weights = nullptr;
  ReferenceCache* cache = nullptr;  // nullptr for graphs without one
  Step step;
  Selection selection;
  std::vector<Cell> values;
  std::vector<float> keys, cached_values;
  std::vector<double> scores, choice, chosen, worth;
  std::vector<std::uint32_t> order;

  std::uint64_t extent(std::int64_t dim) const;
};

// One operation of the graph with its inputs and outputs at this step's true sizes.
class Call {
 public:
  Call(Frame& frame, const nacelle_op& op) : frame_(frame), op_(op) {}

  bool has(std::uint32_t input) const;
  Matrix in(std::uint32_t input) const { return view<float>(op_.inputs[input]); }
  Indices in_indices(std::uint32_t input) const { return view<std::uint32_t>(op_.inputs[input]); }
  Matrix out(std::uint32_t output = 0) const { return view<float>(op_.outputs[output]); }
  Indices out_indices(std::uint32_t output) const { return view<std::uint32_t>(op_.outputs[output]); }
  template <class Attributes>
  Attributes attributes() const {
    return sdk::load(static_cast<const Attributes*>(op_.attributes));
  }

  const nacelle_op& op() const { return op_; }
  const Step& step() const { return frame_.step; }
  Frame& frame() const { return frame_; }
  // Log, settings and the pool of threads.
  const sdk::Host& host() const { return frame_.weights->host(); }
  // NACELLE_NUMERICS_FASTEST: a row's bits may depend on the other rows of the step.
  std::uint32_t numerics() const { return frame_.weights->numerics(); }

 private:
  template <class T>
  View<T> view(std::uint32_t value) const {
    const Cell& cell = frame_.values[value];
    return {static_cast<T*>(cell.data), frame_.extent(cell.lead) * cell.inner, cell.width};
  }

  Frame& frame_;
  const nacelle_op& op_;
};

bool has_input(const nacelle_op& op, std::uint32_t input);
// True when run_op can do `op`: known kind, enough inputs, attributes in range, weights of types that can be read.
bool accepts(const nacelle_graph& graph, const nacelle_op& op);
// "matmul"; "unknown" for a kind that is not in the table.
const char* op_name(std::uint32_t kind);
// What runs `op`, which was accepted. The function throws sdk::Failure (INVALID_ARGUMENT) for an index out of range.
OpFunction find_function(const nacelle_graph& graph, const nacelle_op& op, std::span<const Replacement> replacements);

// ops_matmul.cpp
void embedding(Call& call);
void matmul(Call& call);
void adapter_matmul(Call& call);
// y += scale (x A^T) B^T with the pair's `matrix` (an expert; 0 where there is one).
void add_low_rank(const sdk::LowRankPair& pair, std::uint64_t matrix, std::span<const float> x, std::span<float> y,
                  std::vector<float>& low);
double dot(std::span<const float> a, std::span<const float> b);
// ops_norm.cpp
void rms_norm(Call& call);
void layer_norm(Call& call);
void normalise(Call& call);
void softmax(Call& call);
// ops_rope.cpp
void rope(Call& call);
// ops_attention.cpp
void attention(Call& call);
// ops_activation.cpp
double softplus(double x);                                          // log(1 + e^x)
double activate(std::uint32_t activation, double x, double alpha);  // NACELLE_ACT_*; alpha is of SILU
void unary(Call& call);
void gated(Call& call);
void add(Call& call);
void mul(Call& call);
void scale(Call& call);
void position_scale(Call& call);
void xielu(Call& call);
// ops_shape.cpp
void split(Call& call);
void concat(Call& call);
void gather(Call& call);
void pool(Call& call);
// ops_moe.cpp
void moe_route(Call& call);
void moe_matmul(Call& call);
void moe_combine(Call& call);
void moe_adapter_matmul(Call& call);
// ops_recurrent.cpp
void state_scan(Call& call);
void convolution(Call& call);
// ops_logits.cpp
void logits_select(Call& call);

}  // namespace nacelle::reference
