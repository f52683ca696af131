// From a graph to a program: a flat list of steps whose buffers are resolved. The compiler walks the operations in
// order. Operations that work row by row are chained without barriers between them; matmuls that share their input
// become one step, with a residual, a bias or a gated activation done while the result is warm. One function emits one
// kind of operation (compile_*.cpp).
#pragma once

#include <deque>
#include <map>
#include <nacelle/graph_view.hpp>
#include <span>
#include <vector>

#include "backends/cpu/frame.hpp"
#include "backends/cpu/weights.hpp"

namespace nacelle::cpu {

struct Program {
  std::vector<Step> steps;
  std::deque<Place> places;              // addresses are kept by the steps
  std::vector<Place*> values;            // by value id; nullptr where a value was fused away or is no activation
  std::vector<std::uint32_t> tile_rows;  // the tile sizes that Frame::tiles lists
  std::uint64_t space_bytes[2] = {};
  std::uint64_t scratch_bytes = 64;  // of a thread
  const Place* logits = nullptr;
  const Place* adjusted = nullptr;  // logits after mask, adjustments and temperature
  const Place* embedding = nullptr;
};

// A value's rows as the matmuls that read it want them.
struct Encoding {
  decltype(MatmulVariant::encode) encode;
  const Place* to;
};

class Compiler : private sdk::GraphView {
 public:
  Compiler(const CpuWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
           const nacelle_output_layout& output, std::uint32_t threads);
  // Throws sdk::Failure for an operation without a kernel. The program refers to the weights.
  Program compile();

 private:
  using RowFunction = std::function<void(const Frame&, std::uint32_t row, std::byte* scratch)>;
  using IndexArray = const std::uint32_t* Frame::*;

  struct MatmulPart {
    const PackedMatrix* weights = nullptr;
    const PackedMatrix* up_weights = nullptr;  // with a gated activation: `weights` is the gate's
    const float* bias = nullptr;
    const float* up_bias = nullptr;
    const Place* residual = nullptr;
    const Place* out = nullptr;
    GatedAttributes gated{};
    std::vector<Encoding> encodings;  // of `out`, made tile by tile
    bool only_encoded = false;        // nobody reads `out` itself, and it is not written
  };
  struct MatmulOps;      // the operations behind a part; compile_matmul.cpp
  struct MatmulStep;     // what a step of parts does; compile_matmul.cpp
  struct KvMemory;       // where keys and values lie; compile_attention.cpp
  struct AttentionStep;  // what the parallel half does; compile_attention.cpp
  struct Sorted {        // rows by expert; compile_moe.cpp
    Place* order;
    const Place* tally;
  };

  // ---- Steps and places (compiler.cpp)
  // Opens a step; what is read and written from here on belongs to it.
  void begin_step();
  void push_step(const char* name, decltype(Step::work) work, decltype(Step::run) run);
  // Opens a row-wise operation, in the chain before it where that has the same lead and `local` is true: it reads only
  // its own row of what the chain has made.
  void begin_rows(Lead lead, bool local);
  void push_rows(RowFunction function);
  void flush_rows();
  const Place* read(std::uint32_t value);
  Place* write(std::uint32_t value);
  const Place* keep_alive(Place* place);
  Place* make_place(Space space, Lead lead, std::uint64_t stride, std::uint64_t row_count);
  Place* temporary(Lead lead, std::uint64_t stride) { return make_place(Space::kArena, lead, stride, most_rows(lead)); }
  void need_scratch(std::uint64_t bytes) { program_.scratch_bytes = std::max(program_.scratch_bytes, bytes); }
  IndexArray indices_of(std::uint32_t value) const;
  void place_all();

  // ---- What the graph looks like
  void analyse();
  bool emitted(std::uint32_t value) const { return program_.values[value] != nullptr; }

  // ---- Operations
  void emit(std::uint32_t index);
  void embedding(const nacelle_op& op);
  void norm(const nacelle_op& op);
  void rope(const nacelle_op& op);
  void unary(const nacelle_op& op);
  void gated(const nacelle_op& op);
  void combine(const nacelle_op& op);  // ADD, MUL
  void scale(const nacelle_op& op);
  void position_scale(const nacelle_op& op);
  void xielu(const nacelle_op& op);
  void softmax(const nacelle_op& op);
  void normalise(const nacelle_op& op);
  void split(const nacelle_op& op);
  void concat(const nacelle_op& op);
  void gather(const nacelle_op& op);
  void pool(const nacelle_op& op);
  void adapter_matmul(const nacelle_op& op);  // also of experts
  void matmul(std::uint32_t index);
  void attention(const nacelle_op& op);
  void moe_route(const nacelle_op& op);
  void moe_matmul(std::uint32_t index);
  void moe_combine(const nacelle_op& op);
  void state_scan(const nacelle_op& op);
  void channel_scan(const nacelle_op& op);
  void convolution(const nacelle_op& op);
  void logits_select(const nacelle_op& op);
  const Place* rope_rows(const RopeTable& table);
  Place* scan_factors(const nacelle_op& op);
  std::uint32_t tile_index(std::uint32_t rows);

  // compile_matmul.cpp
  const nacelle_op* gate_of(const nacelle_op& matmul) const;
  std::vector<MatmulOps> gather_matmuls(std::uint32_t index);
  Place* encode(std::uint32_t x, const MatmulVariant& variant);
  // For a step that writes whole blocks of the value: what it can encode while they are warm, with places made for it.
  std::vector<Encoding> plan_encodings(std::uint32_t value);
  // Whether all that reads the value reads an encoding of it.
  bool is_only_encoded(std::uint32_t value) const;
  void push_matmul(std::vector<MatmulPart> parts, const Place* x);

  // compile_attention.cpp
  Place* store_kv(const nacelle_op& op, AttentionStep& step);
  Place* place_partials(AttentionStep& step);

  // compile_moe.cpp
  Sorted sort_experts(std::uint32_t value, std::uint32_t expert_count);
  Place* gather_experts(const nacelle_op& op, Place* sorted, const MatmulVariant& variant);
  void push_moe_matmul(std::vector<MatmulPart> parts, const Place* x, const Sorted& sorted, std::uint32_t used);

  const CpuWeights& weights_;
  const VectorKernels& vectors_;
  nacelle_cache_options cache_;
  nacelle_output_layout output_;
  std::uint32_t threads_;  // of the plan, whatever the number that takes part
  Program program_;
  std::vector<bool> done_;   // operations emitted with an earlier one
  std::uint32_t epoch_ = 0;  // steps so far: a place is born and dies between two of them
  Lead chain_lead_ = Lead::kRows;
  std::vector<RowFunction> chain_;
  std::map<std::pair<std::uint32_t, decltype(MatmulVariant::encode)>, Place*> encoded_;  // by value and encoding
  std::map<std::uint32_t, Sorted> sorted_;  // by the value that holds the experts
  std::vector<std::pair<const RopeTable*, Place*>> rope_rows_;
};

}  // namespace nacelle::cpu
