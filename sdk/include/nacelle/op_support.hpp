// Which operations a backend takes, for backend authors: the kinds, types and sizes that most kernels ask of their
// inputs beyond what every graph promises. A backend states its bounds and answers nacelle_device's `supports` with
// takes_op.
#pragma once

#include <nacelle/graph.h>

#include <algorithm>
#include <cstdint>
#include <nacelle/attention.hpp>
#include <nacelle/experts.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>
#include <nacelle/types.hpp>
#include <string>

namespace nacelle::sdk {

// What a backend's kernels can do.
struct OpBounds {
  bool (*packs)(nacelle_type type) noexcept;   // element types of matrices
  std::uint32_t widest_head = UINT32_MAX;      // elements of a key or a value
  std::uint32_t widest_own_head = UINT32_MAX;  // the same where there is no cache
  std::uint32_t most_experts = UINT32_MAX;
  std::uint32_t widest_window = UINT32_MAX;    // of attention, in tokens
  bool expert_adapters = false;                // MOE_ADAPTER_MATMUL
  bool states = false;                         // STATE_SCAN and CONVOLUTION, and the cache groups of states
  std::uint32_t most_state_rows = UINT32_MAX;  // of STATE_SCAN: D
  bool rate_each_row = false;                  // of STATE_SCAN: rate is f32[H*D]
  std::uint32_t longest_filter = UINT32_MAX;   // of CONVOLUTION: L
  bool chunked_attention = false, position_scale = false, xielu = false;  // the operations of these names
};

// The questions that takes_op asks of inputs; nullptr stands for an input that is absent.
class OpInputs {
 public:
  OpInputs(const nacelle_graph& graph, const nacelle_op& op) : graph_(graph), op_(op) {}

  const nacelle_value* at(std::uint32_t index) const noexcept {
    if (index >= op_.input_count || op_.inputs[index] >= graph_.value_count) return nullptr;
    return graph_.values[op_.inputs[index]];
  }
  bool is_absent(std::uint32_t index) const noexcept { return !at(index); }
  // An array of the step, such as its tokens.
  bool is_indices(std::uint32_t index) const noexcept { return at(index) && at(index)->kind == NACELLE_VALUE_INPUT; }
  bool is_positions(std::uint32_t index) const noexcept {
    return is_indices(index) && at(index)->role == NACELLE_INPUT_POSITIONS;
  }
  bool is_activation(std::uint32_t index) const noexcept {
    return is_rows(index) && at(index)->type == NACELLE_TYPE_F32;
  }
  // Experts that were chosen for rows.
  bool is_choice(std::uint32_t index) const noexcept { return is_rows(index) && at(index)->type == NACELLE_TYPE_U32; }
  // A weight that is read whole, or absent.
  bool is_optional_vector(std::uint32_t index) const noexcept {
    const nacelle_value* value = at(index);
    return !value ||
           (value->kind == NACELLE_VALUE_WEIGHT &&
            (value->type == NACELLE_TYPE_F32 || value->type == NACELLE_TYPE_F16 || value->type == NACELLE_TYPE_BF16));
  }
  // Of rank 2; those of experts have rank 3. Rows are whole blocks of a type that the backend packs.
  bool is_matrix(std::uint32_t index, const OpBounds& bounds, std::uint32_t rank = 2) const noexcept {
    const nacelle_value* value = at(index);
    if (!value || value->kind != NACELLE_VALUE_WEIGHT || value->rank != rank || !bounds.packs(value->type))
      return false;
    const std::int64_t columns = value->shape[rank - 1];
    return columns > 0 && columns % type_info(value->type)->block_elements == 0;
  }
  bool are_activations() const noexcept {
    for (std::uint32_t i = 0; i < op_.input_count; ++i)
      if (!is_activation(i)) return false;
    return op_.input_count > 0;
  }

 private:
  bool is_rows(std::uint32_t index) const noexcept {
    const nacelle_value* value = at(index);
    return value && (value->kind == NACELLE_VALUE_INTERMEDIATE || value->kind == NACELLE_VALUE_BOUNDARY) &&
           value->shape[0] < 0;
  }

  const nacelle_graph& graph_;
  const nacelle_op& op_;
};

namespace detail {

// A layer's keys and values fit the cache group that the operation names.
inline bool fits_cache(const nacelle_graph& graph, const nacelle_attention_attributes& of, bool has_values) noexcept {
  if (of.cache_group == NACELLE_NO_CACHE) return true;
  if (of.cache_group >= graph.cache_group_count) return false;
  const nacelle_cache_group& group = *graph.cache_groups[of.cache_group];
  return group.kind == NACELLE_CACHE_PAGED && of.cache_layer < group.layer_count &&
         (group.value_width == 0) == !has_values && group.key_width == std::uint64_t{of.kv_head_count} * of.key_width &&
         (!has_values || group.value_width == std::uint64_t{of.kv_head_count} * of.value_width);
}

inline bool takes_attention(const nacelle_graph& graph, const nacelle_op& op, const OpBounds& bounds) noexcept {
  const auto of = load(static_cast<const nacelle_attention_attributes*>(op.attributes));
  if (!of.kv_head_count || !of.head_count || of.head_count % of.kv_head_count || !of.key_width || !of.value_width ||
      of.window > bounds.widest_window)
    return false;
  if (op.kind == NACELLE_OP_CHUNKED_ATTENTION &&
      (!bounds.chunked_attention || !of.causal || !of.window || of.cache_group == NACELLE_NO_CACHE))
    return false;
  const std::uint32_t widest =
      of.cache_group == NACELLE_NO_CACHE ? std::min(bounds.widest_head, bounds.widest_own_head) : bounds.widest_head;
  if (of.key_width > widest || of.value_width > widest) return false;
  const OpInputs inputs(graph, op);
  if (!inputs.is_activation(0) || !inputs.is_activation(1)) return false;
  if (!inputs.is_optional_vector(3) || !inputs.is_optional_vector(4)) return false;
  const bool has_values = !inputs.is_absent(2);  // else they are the head of the keys
  if (has_values ? !inputs.is_activation(2) : of.value_width > of.key_width) return false;
  return fits_cache(graph, of, has_values);
}

// A state of so many values is what the cache group that the operation names holds.
inline bool fits_state(const nacelle_graph& graph, std::uint32_t group, std::uint32_t layer,
                       std::uint64_t values) noexcept {
  return group < graph.cache_group_count && graph.cache_groups[group]->kind == NACELLE_CACHE_STATE &&
         layer < graph.cache_groups[group]->layer_count && graph.cache_groups[group]->key_width == values;
}

inline bool takes_scan(const nacelle_graph& graph, const nacelle_op& op, const OpBounds& bounds) noexcept {
  const auto of = load(static_cast<const nacelle_scan_attributes*>(op.attributes));
  const OpInputs inputs(graph, op);
  if ((of.rule != NACELLE_SCAN_ADD && of.rule != NACELLE_SCAN_DELTA) || !of.group_count ||
      of.head_count % of.group_count || of.key_width > bounds.most_state_rows)
    return false;
  for (std::uint32_t i = 0; i < 4; ++i)
    if (!inputs.is_activation(i)) return false;
  if (inputs.is_absent(4)) return false;
  const bool each_row =
      of.value_width == 1 && of.key_width > 1 && inputs.at(4)->shape[0] == std::int64_t{of.head_count} * of.key_width;
  if (each_row && !bounds.rate_each_row) return false;
  return inputs.is_optional_vector(4) && inputs.is_optional_vector(5) &&
         (inputs.is_absent(6) ? inputs.at(3)->shape[1] == of.head_count : inputs.is_activation(6)) &&
         inputs.is_optional_vector(7) &&
         fits_state(graph, of.cache_group, of.cache_layer,
                    std::uint64_t{of.head_count} * of.key_width * of.value_width);
}

inline bool takes_convolution(const nacelle_graph& graph, const nacelle_op& op, const OpBounds& bounds) noexcept {
  const auto of = load(static_cast<const nacelle_convolution_attributes*>(op.attributes));
  const OpInputs inputs(graph, op);
  if (of.length < 2 || of.length > bounds.longest_filter || of.activation > NACELLE_ACT_SIGMOID ||
      !inputs.is_activation(0) || inputs.is_absent(1))
    return false;
  return inputs.is_optional_vector(1) && inputs.is_optional_vector(2) &&
         fits_state(graph, of.cache_group, of.cache_layer,
                    (of.length - std::uint64_t{1}) * static_cast<std::uint64_t>(inputs.at(0)->shape[1]));
}

inline bool takes_experts(const nacelle_graph& graph, const nacelle_op& op, const OpBounds& bounds) noexcept {
  const auto of = load(static_cast<const nacelle_moe_attributes*>(op.attributes));
  const OpInputs inputs(graph, op);
  if (!experts_are_valid(of) || of.expert_count > bounds.most_experts || !inputs.is_activation(0)) return false;
  switch (op.kind) {
    case NACELLE_OP_MOE_ROUTE: return routing_is_valid(of) && inputs.is_optional_vector(1);
    case NACELLE_OP_MOE_MATMUL:
      return inputs.is_matrix(1, bounds, 3) && inputs.at(1)->shape[0] == of.expert_count && inputs.is_choice(2) &&
             inputs.is_optional_vector(3);
    default: return inputs.is_activation(1);
  }
}

// An adapter's target is a weight of this rank.
inline bool has_target(const nacelle_graph& graph, const nacelle_op& op, std::uint32_t rank) noexcept {
  const std::uint32_t target = load(static_cast<const nacelle_adapter_attributes*>(op.attributes)).target;
  return target < graph.value_count && graph.values[target]->kind == NACELLE_VALUE_WEIGHT &&
         graph.values[target]->rank == rank;
}

}  // namespace detail

// Whether a backend with these bounds takes the operation, with its inputs and attributes. Any thread.
inline bool takes_op(const nacelle_graph& graph, const nacelle_op& op, const OpBounds& bounds) noexcept {
  const OpInputs inputs(graph, op);
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING: return inputs.is_indices(0) && inputs.is_matrix(1, bounds);
    case NACELLE_OP_MATMUL:
      return inputs.is_activation(0) && inputs.is_matrix(1, bounds) && inputs.is_optional_vector(2);
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM:
      return inputs.is_activation(0) && inputs.is_optional_vector(1) && inputs.is_optional_vector(2);
    case NACELLE_OP_ROPE:
      return rope_is_valid(load(static_cast<const nacelle_rope_attributes*>(op.attributes))) &&
             inputs.is_activation(0) && inputs.is_positions(1) && inputs.is_optional_vector(2) &&
             inputs.is_optional_vector(3);
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: return detail::takes_attention(graph, op, bounds);
    case NACELLE_OP_POSITION_SCALE:
      return bounds.position_scale && inputs.is_activation(0) && inputs.is_positions(1) &&
             load(static_cast<const nacelle_position_scale_attributes*>(op.attributes)).length != 0;
    case NACELLE_OP_XIELU:
      return bounds.xielu && inputs.is_activation(0) && !inputs.is_absent(1) && inputs.is_optional_vector(1);
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL:
      return inputs.is_activation(0) && !inputs.is_absent(1) &&
             (inputs.is_activation(1) || inputs.is_optional_vector(1));
    case NACELLE_OP_GATHER: return inputs.is_activation(0) && inputs.is_indices(1);
    case NACELLE_OP_MOE_ROUTE:
    case NACELLE_OP_MOE_MATMUL:
    case NACELLE_OP_MOE_COMBINE: return detail::takes_experts(graph, op, bounds);
    case NACELLE_OP_ADAPTER_MATMUL:
      return inputs.is_activation(0) && inputs.is_activation(1) && inputs.is_indices(2) &&
             detail::has_target(graph, op, 2);
    case NACELLE_OP_MOE_ADAPTER_MATMUL:
      return bounds.expert_adapters && inputs.is_activation(0) && inputs.is_activation(1) && inputs.is_indices(2) &&
             inputs.is_choice(3) && detail::has_target(graph, op, 3);
    case NACELLE_OP_STATE_SCAN: return bounds.states && detail::takes_scan(graph, op, bounds);
    case NACELLE_OP_CONVOLUTION: return bounds.states && detail::takes_convolution(graph, op, bounds);
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED:
    case NACELLE_OP_SOFTMAX:
    case NACELLE_OP_SCALE:
    case NACELLE_OP_SPLIT:
    case NACELLE_OP_CONCAT:
    case NACELLE_OP_POOL:
    case NACELLE_OP_NORMALISE:
    case NACELLE_OP_LOGITS_SELECT: return inputs.are_activations();
    default: return false;
  }
}

// Throws Failure that names the first cache group or operation that a backend with these bounds does not take.
inline void check_graph(const std::string& backend, const nacelle_graph& graph, const OpBounds& bounds) {
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g)
    if (graph.cache_groups[g]->kind != NACELLE_CACHE_PAGED &&
        !(bounds.states && graph.cache_groups[g]->kind == NACELLE_CACHE_STATE))
      throw Failure(NACELLE_UNIMPLEMENTED, backend + ": cache group " + std::to_string(g) + " is of kind " +
                                               std::to_string(graph.cache_groups[g]->kind) +
                                               " (1: paged, 2: state, 3: cross), which it does not have");
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (!takes_op(graph, *graph.ops[i], bounds))
      throw Failure(NACELLE_UNIMPLEMENTED, backend + ": operation " + std::to_string(i) + " of kind " +
                                               std::to_string(graph.ops[i]->kind) +
                                               " has inputs or attributes without a kernel");
}

}  // namespace nacelle::sdk
