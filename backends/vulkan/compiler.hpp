// From a graph to a program of dispatches. Operations are walked in order; a barrier is put only where a dispatch
// touches what one before it has written, or writes what one before it reads. One function emits one kind of operation.
#pragma once

#include <bit>
#include <initializer_list>
#include <map>
#include <nacelle/graph_view.hpp>
#include <set>
#include <string>
#include <vector>

#include "backends/vulkan/cache.hpp"
#include "backends/vulkan/program.hpp"
#include "backends/vulkan/weights.hpp"

namespace nacelle::vulkan {

class Compiler : private sdk::GraphView {
 public:
  Compiler(const VulkanWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
           const nacelle_step_layout& step, const nacelle_output_layout& output);
  // Throws sdk::Failure for an operation without a shader, or a shader that the driver does not take.
  Program compile();

 private:
  // A 32-bit push constant.
  struct Word {
    Word(std::uint32_t value) : bits(value) {}
    Word(float value) : bits(std::bit_cast<std::uint32_t>(value)) {}
    std::uint32_t bits;
  };

  // ---- Dispatches and places (compiler.cpp)
  VkPipeline pipeline(const std::string& shader, const std::vector<std::uint32_t>& constants,
                      bool full_subgroups = false) const;
  void push(VkPipeline pipeline, const Grid& grid, std::initializer_list<Ref> refs, std::initializer_list<Word> words);
  // A grid whose threads share `width` columns of each row.
  Grid columns_grid(std::uint32_t width, Lead lead, std::uint32_t per_thread = 4) const;
  Ref read(std::uint32_t value);
  Ref write(std::uint32_t value);
  static Ref to(Place* place) { return {Ref::Kind::kPlace, true, 0, place}; }
  static Ref from(Place* place) { return {Ref::Kind::kPlace, false, 0, place}; }
  static Ref absolute(std::uint64_t address) { return {Ref::Kind::kAbsolute, false, address}; }
  static Ref step(std::uint64_t offset) { return {Ref::Kind::kStep, false, offset}; }
  static Ref output(std::uint64_t offset) { return {Ref::Kind::kOutput, true, offset}; }
  // A layer of a cache group, to be written.
  static Ref cache_of(std::uint32_t group, std::uint32_t layer) {
    return {Ref::Kind::kCache, true, 0, nullptr, group, layer};
  }
  // Where the group's block tables begin, in the step block.
  std::uint64_t table_of(std::uint32_t group) const {
    return step_.block_tables + 4 * std::uint64_t{group} * bucket_.sequences * step_.table_width;
  }
  Ref counts(Lead lead) const { return step(step_.header + 4 * header_word(lead)); }
  Place* place_of(std::uint32_t value) const { return program_.values[value]; }
  Place* make_place(Space space, Lead lead, std::uint32_t width);
  Ref indices_of(std::uint32_t value) const;
  bool needs_barrier(const Dispatch& dispatch) const;
  void place_all();

  // ---- What the graph looks like
  void analyse();
  void finish(const nacelle_op* op);

  // ---- Operations
  void emit(std::uint32_t index);
  void embedding(const nacelle_op& op);
  void norm(const nacelle_op& op);
  void rope(const nacelle_op& op);
  void elementwise(const nacelle_op& op);
  void position_scale(const nacelle_op& op);
  void split(const nacelle_op& op);
  void concat(const nacelle_op& op);
  void gather(const nacelle_op& op);
  void pool(const nacelle_op& op);
  void matmul(const nacelle_op& op);
  Ref encoded(std::uint32_t value, const PackedMatrix& matrix);
  void attention(const nacelle_op& op);
  void store_keys(const KvShape& shape, const Ref& k, const Ref& v, const Ref& table, const Ref& cache);
  void moe_route(const nacelle_op& op);
  void moe_matmul(const nacelle_op& op);
  std::pair<Ref, Ref> group_pairs(const Ref& experts, const nacelle_moe_attributes& of);
  void moe_combine(const nacelle_op& op);
  void adapter(const nacelle_op& op);  // also of experts
  void state_scan(const nacelle_op& op);
  void convolution(const nacelle_op& op);
  void logits_select(const nacelle_op& op);
  void copy_columns(const Ref& x, std::uint32_t x_stride, std::uint32_t x_first, const Ref& indices, const Ref& y,
                    std::uint32_t y_stride, std::uint32_t y_first, std::uint32_t width, Lead lead);
  void publish_embedding();

  const VulkanWeights& weights_;
  VulkanDevice& device_;
  nacelle_cache_options cache_;
  nacelle_step_layout step_;
  nacelle_output_layout output_;
  Program program_;
  std::vector<bool> done_;                                     // operations emitted with an earlier one
  std::map<std::pair<std::uint32_t, bool>, Place*> encoded_;   // by value; true: for nibbles
  std::map<const Place*, std::pair<Place*, Place*>> grouped_;  // by experts: their pairs and tiles
  std::uint32_t epoch_ = 1;                                    // barriers so far
  // What was touched since the latest barrier: places, and stand-ins for the cache, the blocks and the best tokens.
  using Touched = std::set<std::pair<const void*, std::uint64_t>>;
  Touched written_, read_;
};

}  // namespace nacelle::vulkan
