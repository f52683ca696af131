// One line an operation, and what its inputs must be beyond what every graph promises.
#include "backends/vulkan/supports.hpp"

#include <nacelle/experts.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>
#include <nacelle/types.hpp>

#include "backends/vulkan/packing.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostExperts = 512;  // of shaders/moe_route.comp and moe_group.comp

const nacelle_value* input(const nacelle_graph& graph, const nacelle_op& op, std::uint32_t index) {
  if (index >= op.input_count || op.inputs[index] >= graph.value_count) return nullptr;
  return graph.values[op.inputs[index]];
}

bool is_index_input(const nacelle_value* value) { return value && value->kind == NACELLE_VALUE_INPUT; }
bool is_rows(const nacelle_value* value) {
  return value && (value->kind == NACELLE_VALUE_INTERMEDIATE || value->kind == NACELLE_VALUE_BOUNDARY) &&
         value->shape[0] < 0;
}
bool is_activation(const nacelle_value* value) { return is_rows(value) && value->type == NACELLE_TYPE_F32; }
bool is_choice(const nacelle_value* value) { return is_rows(value) && value->type != NACELLE_TYPE_F32; }  // of experts
bool is_vector(const nacelle_value* value) {  // absent is fine
  return !value ||
         (value->kind == NACELLE_VALUE_WEIGHT &&
          (value->type == NACELLE_TYPE_F32 || value->type == NACELLE_TYPE_F16 || value->type == NACELLE_TYPE_BF16));
}
bool is_matrix(const nacelle_value* value, std::uint32_t rank = 2) {
  return value && value->kind == NACELLE_VALUE_WEIGHT && value->rank == rank && is_packable(value->type) &&
         value->shape[rank - 1] > 0 && value->shape[rank - 1] % type_info(value->type)->block_elements == 0;
}

template <class T>
T attributes(const nacelle_op& op) {
  return sdk::load(static_cast<const T*>(op.attributes));
}

bool takes_attention(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  if (!of.kv_head_count || !of.head_count || of.head_count % of.kv_head_count || !of.key_width || !of.value_width)
    return false;
  const nacelle_value* values = input(graph, op, 2);
  if (!is_activation(input(graph, op, 0)) || !is_activation(input(graph, op, 1))) return false;
  if (values ? !is_activation(values) : of.value_width > of.key_width) return false;
  if (!is_vector(input(graph, op, 3)) || !is_vector(input(graph, op, 4)) || of.window > UINT32_MAX / 2) return false;
  if (of.cache_group == NACELLE_NO_CACHE) return true;
  if (of.cache_group >= graph.cache_group_count) return false;
  const nacelle_cache_group& group = *graph.cache_groups[of.cache_group];
  return group.kind == NACELLE_CACHE_PAGED && of.cache_layer < group.layer_count &&
         (group.value_width == 0) == !values && group.key_width == std::uint64_t{of.kv_head_count} * of.key_width &&
         (!values || group.value_width == std::uint64_t{of.kv_head_count} * of.value_width);
}

bool takes_experts(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  if (!experts_are_valid(of) || of.expert_count > kMostExperts) return false;
  switch (op.kind) {
    case NACELLE_OP_MOE_ROUTE:
      return routing_is_valid(of) && is_activation(input(graph, op, 0)) && is_vector(input(graph, op, 1));
    case NACELLE_OP_MOE_MATMUL:
      return is_activation(input(graph, op, 0)) && is_matrix(input(graph, op, 1), 3) &&
             is_choice(input(graph, op, 2)) && is_vector(input(graph, op, 3));
    default: return is_activation(input(graph, op, 0)) && is_activation(input(graph, op, 1));
  }
}

bool takes_rope(const nacelle_graph& graph, const nacelle_op& op) {
  const nacelle_value* positions = input(graph, op, 1);
  return rope_is_valid(attributes<nacelle_rope_attributes>(op)) && is_activation(input(graph, op, 0)) &&
         is_index_input(positions) && positions->role == NACELLE_INPUT_POSITIONS && is_vector(input(graph, op, 2)) &&
         is_vector(input(graph, op, 3));
}

bool all_activations(const nacelle_graph& graph, const nacelle_op& op) {
  for (std::uint32_t i = 0; i < op.input_count; ++i)
    if (!is_activation(input(graph, op, i))) return false;
  return op.input_count > 0;
}

}  // namespace

bool supports(const nacelle_graph& graph, const nacelle_op& op) noexcept {
  const nacelle_value* first = input(graph, op, 0);
  const nacelle_value* second = input(graph, op, 1);
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING: return is_index_input(first) && is_matrix(second);
    case NACELLE_OP_MATMUL: return is_activation(first) && is_matrix(second) && is_vector(input(graph, op, 2));
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM: return is_activation(first) && is_vector(second) && is_vector(input(graph, op, 2));
    case NACELLE_OP_ROPE: return takes_rope(graph, op);
    case NACELLE_OP_ATTENTION: return takes_attention(graph, op);
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL: return is_activation(first) && second && (is_activation(second) || is_vector(second));
    case NACELLE_OP_GATHER: return is_activation(first) && is_index_input(second);
    case NACELLE_OP_MOE_ROUTE:
    case NACELLE_OP_MOE_MATMUL:
    case NACELLE_OP_MOE_COMBINE: return takes_experts(graph, op);
    case NACELLE_OP_ADAPTER_MATMUL:
      return is_activation(first) && is_activation(second) && is_index_input(input(graph, op, 2));
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

void check_graph(const nacelle_graph& graph) {
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g)
    if (graph.cache_groups[g]->kind != NACELLE_CACHE_PAGED)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: cache group " + std::to_string(g) + " is of kind " +
                                                    std::to_string(graph.cache_groups[g]->kind) +
                                                    "; only paged groups (1) are supported");
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (!supports(graph, *graph.ops[i]))
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: operation " + std::to_string(i) + " of kind " +
                                                    std::to_string(graph.ops[i]->kind) +
                                                    " has inputs or attributes without a shader");
}

}  // namespace nacelle::vulkan
