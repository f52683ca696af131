// One line an operation, and what its inputs must be beyond what every graph promises.
#include "backends/gpu/host/supports.hpp"

#include <nacelle/experts.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>
#include <nacelle/types.hpp>

#include "backends/gpu/host/formats.hpp"

namespace nacelle::gpu {
namespace {

// Bounds of kernels/attention.hpp and kernels/moe.hpp.
constexpr std::uint32_t kWidestHead = 256, kMaxExperts = 256;

const nacelle_value* input(const nacelle_graph& graph, const nacelle_op& op, std::uint32_t index) {
  if (index >= op.input_count || op.inputs[index] >= graph.value_count) return nullptr;
  return graph.values[op.inputs[index]];
}
bool is_index_input(const nacelle_value* value) { return value && value->kind == NACELLE_VALUE_INPUT; }
bool is_activation(const nacelle_value* value) {
  return value && (value->kind == NACELLE_VALUE_INTERMEDIATE || value->kind == NACELLE_VALUE_BOUNDARY) &&
         value->shape[0] < 0 && value->rank <= 2;
}
bool is_float_activation(const nacelle_value* value) { return is_activation(value) && value->type == NACELLE_TYPE_F32; }
bool is_vector(const nacelle_value* value) {  // absent is fine
  return !value ||
         (value->kind == NACELLE_VALUE_WEIGHT &&
          (value->type == NACELLE_TYPE_F32 || value->type == NACELLE_TYPE_F16 || value->type == NACELLE_TYPE_BF16));
}
bool is_packed(const nacelle_value* value, std::uint32_t rank) {
  return value && value->kind == NACELLE_VALUE_WEIGHT && value->rank == rank && find_format(value->type) &&
         value->shape[rank - 1] > 0 && value->shape[rank - 1] % type_info(value->type)->block_elements == 0;
}

template <class T>
T attributes(const nacelle_op& op) {
  return sdk::load(static_cast<const T*>(op.attributes));
}

bool takes_attention(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  if (!of.kv_head_count || !of.head_count || of.head_count % of.kv_head_count || !of.key_width || !of.value_width ||
      of.key_width > kWidestHead || of.value_width > kWidestHead)
    return false;
  if (!is_float_activation(input(graph, op, 0)) || !is_float_activation(input(graph, op, 1)) ||
      !is_vector(input(graph, op, 3)) || !is_vector(input(graph, op, 4)))
    return false;
  const nacelle_value* values = input(graph, op, 2);
  if (values ? !is_float_activation(values) : of.value_width > of.key_width) return false;
  if (of.cache_group == NACELLE_NO_CACHE) return true;
  if (of.cache_group >= graph.cache_group_count) return false;
  const nacelle_cache_group& group = *graph.cache_groups[of.cache_group];
  return group.kind == NACELLE_CACHE_PAGED && (group.value_width == 0) == !values &&
         of.cache_layer < group.layer_count && group.key_width == of.kv_head_count * of.key_width &&
         (!values || group.value_width == of.kv_head_count * of.value_width);
}

bool takes_rope(const nacelle_graph& graph, const nacelle_op& op) {
  const nacelle_value* positions = input(graph, op, 1);
  return rope_is_valid(attributes<nacelle_rope_attributes>(op)) && is_float_activation(input(graph, op, 0)) &&
         is_index_input(positions) && positions->role == NACELLE_INPUT_POSITIONS && is_vector(input(graph, op, 2)) &&
         is_vector(input(graph, op, 3));
}

bool takes_experts(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  if (!experts_are_valid(of) || of.expert_count > kMaxExperts) return false;
  switch (op.kind) {
    case NACELLE_OP_MOE_ROUTE:
      return routing_is_valid(of) && is_float_activation(input(graph, op, 0)) && is_vector(input(graph, op, 1));
    case NACELLE_OP_MOE_MATMUL:
      return is_float_activation(input(graph, op, 0)) && is_packed(input(graph, op, 1), 3) &&
             is_activation(input(graph, op, 2)) && is_vector(input(graph, op, 3));
    default: return is_float_activation(input(graph, op, 0)) && is_float_activation(input(graph, op, 1));
  }
}

bool all_activations(const nacelle_graph& graph, const nacelle_op& op) {
  for (std::uint32_t i = 0; i < op.input_count; ++i)
    if (!is_float_activation(input(graph, op, i))) return false;
  return op.input_count > 0;
}

bool takes(const nacelle_graph& graph, const nacelle_op& op) {
  const nacelle_value* first = input(graph, op, 0);
  const nacelle_value* second = input(graph, op, 1);
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING: return is_index_input(first) && is_packed(second, 2);
    case NACELLE_OP_MATMUL: return is_float_activation(first) && is_packed(second, 2) && is_vector(input(graph, op, 2));
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM:
      return is_float_activation(first) && is_vector(second) && is_vector(input(graph, op, 2));
    case NACELLE_OP_ROPE: return takes_rope(graph, op);
    case NACELLE_OP_ATTENTION: return takes_attention(graph, op);
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL:
      return is_float_activation(first) && second && (is_float_activation(second) || is_vector(second));
    case NACELLE_OP_GATHER: return is_float_activation(first) && is_index_input(second);
    case NACELLE_OP_ADAPTER_MATMUL:
      return is_float_activation(first) && is_float_activation(second) && is_index_input(input(graph, op, 2));
    case NACELLE_OP_MOE_ROUTE:
    case NACELLE_OP_MOE_MATMUL:
    case NACELLE_OP_MOE_COMBINE: return takes_experts(graph, op);
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED:
    case NACELLE_OP_SOFTMAX:
    case NACELLE_OP_SCALE:
    case NACELLE_OP_SPLIT:
    case NACELLE_OP_CONCAT:
    case NACELLE_OP_POOL:
    case NACELLE_OP_NORMALISE:
    case NACELLE_OP_LOGITS_SELECT: return all_activations(graph, op);
    default: return false;
  }
}

}  // namespace

bool supports(const nacelle_graph& graph, const nacelle_op& op) noexcept { return takes(graph, op); }

}  // namespace nacelle::gpu
