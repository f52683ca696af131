// One line an operation, and what its inputs must be beyond what every graph promises.
#include "backends/vulkan/supports.hpp"

#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>
#include <nacelle/types.hpp>

#include "backends/vulkan/packing.hpp"

namespace nacelle::vulkan {
namespace {

const nacelle_value* input(const nacelle_graph& graph, const nacelle_op& op, std::uint32_t index) {
  if (index >= op.input_count || op.inputs[index] >= graph.value_count) return nullptr;
  return graph.values[op.inputs[index]];
}

bool is_index_input(const nacelle_value* value) { return value && value->kind == NACELLE_VALUE_INPUT; }
bool is_activation(const nacelle_value* value) {
  return value && value->type == NACELLE_TYPE_F32 &&
         (value->kind == NACELLE_VALUE_INTERMEDIATE || value->kind == NACELLE_VALUE_BOUNDARY) && value->shape[0] < 0;
}
bool is_vector(const nacelle_value* value) {  // absent is fine
  return !value ||
         (value->kind == NACELLE_VALUE_WEIGHT &&
          (value->type == NACELLE_TYPE_F32 || value->type == NACELLE_TYPE_F16 || value->type == NACELLE_TYPE_BF16));
}
bool is_matrix(const nacelle_value* value) {
  return value && value->kind == NACELLE_VALUE_WEIGHT && value->rank == 2 && is_packable(value->type) &&
         value->shape[1] > 0 && value->shape[1] % type_info(value->type)->block_elements == 0;
}

template <class T>
T attributes(const nacelle_op& op) {
  return sdk::load(static_cast<const T*>(op.attributes));
}

// Through a paged cache with values of its own; sinks, ALiBi and relative biases have no shader.
bool takes_attention(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  if (!of.kv_head_count || of.head_count % of.kv_head_count || !of.key_width || !of.value_width) return false;
  for (std::uint32_t i = 0; i < 3; ++i)
    if (!is_activation(input(graph, op, i))) return false;
  if (input(graph, op, 3) || input(graph, op, 4) || of.alibi_bias != 0) return false;
  if (of.cache_group >= graph.cache_group_count || of.window > UINT32_MAX / 2) return false;
  const nacelle_cache_group& group = *graph.cache_groups[of.cache_group];
  return group.kind == NACELLE_CACHE_PAGED && of.cache_layer < group.layer_count &&
         group.key_width == std::uint64_t{of.kv_head_count} * of.key_width &&
         group.value_width == std::uint64_t{of.kv_head_count} * of.value_width;
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
