// From a graph to a program: a flat list of launches whose addresses are still open. Each operation becomes one launch
// or a few; a product takes its bias and the residual behind it along. The plan fills in the addresses of a slot, and
// captures what comes out.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <nacelle/backend.hpp>
#include <nacelle/graph_view.hpp>
#include <nacelle/value_placement.hpp>
#include <vector>

#include "backends/gpu/host/cache.hpp"
#include "backends/gpu/host/weights.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kRowThreads = 256;  // of a block, in kernels on rows
constexpr std::uint32_t divide_up(std::uint32_t n, std::uint32_t by) { return (n + by - 1) / by; }

using sdk::Lead;

// Memory of a plan, in the arena that all slots share or in a slot's own.
struct Place {
  bool in_slot = false;
  Lead lead = Lead::kRows;
  std::uint32_t width = 0, stride = 0;  // in elements of 4 bytes
  sdk::Lifetime life;
};

// Where a slot's memory lies.
struct Addresses {
  std::uint8_t *arena = nullptr, *slot = nullptr, *step = nullptr, *output = nullptr;
  const GpuCache* cache = nullptr;

  std::uint8_t* at(const Place& place) const { return (place.in_slot ? slot : arena) + place.life.offset; }
  Rows rows(const Place& place) const { return {reinterpret_cast<float*>(at(place)), place.width, place.stride}; }
  template <class T>
  const T* in_step(std::uint64_t offset) const {
    return reinterpret_cast<const T*>(step + offset);
  }
};

struct Program {
  std::vector<std::function<nacelle_status(Context&, Queue*, const Addresses&)>> steps;
  std::deque<Place> places;    // addresses are kept by the steps
  std::vector<Place*> values;  // by value id; nullptr where a value was fused away or is no activation
  std::uint64_t arena_bytes = 0, slot_bytes = 0;
  const Place* logits = nullptr;
  const Place* adjusted = nullptr;  // logits after mask, adjustments and temperature
};

class Compiler : private sdk::GraphView {
 public:
  Compiler(const GpuWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
           const nacelle_step_layout& step, const nacelle_output_layout& output);
  // Throws sdk::Failure for an operation without a kernel. The program refers to the weights.
  Program compile();

 private:
  using Step = std::function<Launch(const Addresses&)>;

  // ---- Steps and places (compiler.cpp)
  void push(Step step);
  void push_product(std::function<BlasProduct(const Addresses&)> product);
  const Place* read(std::uint32_t value);
  Place* write(std::uint32_t value);
  Place* make_place(bool in_slot, Lead lead, std::uint32_t width, std::uint64_t row_count);
  Place* temporary(Lead lead, std::uint64_t bytes_a_row);
  const Place* touch(Place* place);                       // used by the step that is pushed next
  std::uint64_t count_offset(Lead lead) const;            // of the true count, in the step block
  std::uint64_t table_offset(std::uint32_t group) const;  // of a cache group's block tables
  std::uint64_t index_offset(std::uint32_t value) const;  // of a step input's array
  void place_all();

  // ---- Operations
  void emit(std::uint32_t index);
  void embedding(const nacelle_op& op);
  void norm(const nacelle_op& op);
  void rope(const nacelle_op& op);
  void elements(const nacelle_op& op);
  void position_scale(const nacelle_op& op);
  void rowwise(const nacelle_op& op, Kernel kernel);  // SOFTMAX, NORMALISE
  void split(const nacelle_op& op);
  void concat(const nacelle_op& op);
  void gather(const nacelle_op& op);
  void pool(const nacelle_op& op);
  void copy(Kernel kernel, const Place* x, const Place* out, std::uint32_t from, std::uint32_t to, std::uint32_t width);
  // compile_products.cpp
  void matmul(std::uint32_t index);
  struct Product;
  void own_product(const Product& of);
  bool vendor_product(const Product& of);
  void moe_route(const nacelle_op& op);
  void moe_matmul(const nacelle_op& op);
  void moe_combine(const nacelle_op& op);
  void adapter(const nacelle_op& op);  // also of experts
  const Place* encode(std::uint32_t value, const PackedMatrix& matrix);
  // compile_attention.cpp
  void attention(const nacelle_op& op);
  std::function<KvView(const Addresses&)> kv_of(std::uint32_t group, std::uint32_t layer) const;
  void write_kv(const nacelle_op& op);
  // What is the same in every step.
  AttentionArguments attention_arguments(const nacelle_op& op) const;
  struct AttentionBlocks;
  AttentionBlocks attention_blocks(const nacelle_attention_attributes& of, std::uint32_t splits,
                                   std::uint64_t partial_bytes) const;
  void logits_select(const nacelle_op& op);
  void embedding_output(std::uint32_t value);
  // compile_recurrent.cpp
  std::function<StateView(const Addresses&)> state_of(std::uint32_t group, std::uint32_t layer) const;
  void state_scan(const nacelle_op& op);
  void convolution(const nacelle_op& op);

  const GpuWeights& weights_;
  nacelle_cache_options cache_;
  nacelle_step_layout step_;
  nacelle_output_layout output_;
  Program program_;
  std::vector<bool> done_;                                    // operations emitted with an earlier one
  std::map<std::pair<std::uint32_t, bool>, Place*> encoded_;  // by value; true: bf16
  std::vector<std::pair<const RopeFrequencies*, Place*>> rope_tables_;
};

}  // namespace nacelle::gpu
