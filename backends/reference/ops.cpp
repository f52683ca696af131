// The table of operations, and the checks made once, before a model is taken.
#include "backends/reference/ops.hpp"

#include <nacelle/experts.hpp>
#include <nacelle/rope.hpp>

#include "backends/reference/formats.hpp"

namespace nacelle::reference {
namespace {

template <class Attributes>
Attributes attributes_of(const nacelle_op& op) {
  return sdk::load(static_cast<const Attributes*>(op.attributes));
}

bool is_weight(const nacelle_graph& graph, const nacelle_op& op, std::uint32_t input) {
  return !has_input(op, input) || graph.values[op.inputs[input]]->kind == NACELLE_VALUE_WEIGHT;
}

bool check_rope(const nacelle_graph& graph, const nacelle_op& op) {
  return rope_is_valid(attributes_of<nacelle_rope_attributes>(op)) && is_weight(graph, op, 2) &&
         is_weight(graph, op, 3);
}

bool check_attention(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes_of<nacelle_attention_attributes>(op);
  if (!of.kv_head_count || !of.key_width || !of.value_width || !of.head_count || of.head_count % of.kv_head_count)
    return false;
  if (of.cache_group == NACELLE_NO_CACHE) return has_input(op, 2) || of.value_width <= of.key_width;
  if (of.cache_group >= graph.cache_group_count) return false;
  const auto group = sdk::load(graph.cache_groups[of.cache_group]);
  const bool aliased = group.value_width == 0;
  return group.kind == NACELLE_CACHE_PAGED && of.cache_layer < group.layer_count &&
         group.key_width == of.kv_head_count * of.key_width &&
         (aliased ? of.value_width <= of.key_width : group.value_width == of.kv_head_count * of.value_width) &&
         (aliased || has_input(op, 2));
}

bool check_chunks(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes_of<nacelle_attention_attributes>(op);
  return of.causal && of.window && of.cache_group != NACELLE_NO_CACHE && check_attention(graph, op);
}

bool check_position_scale(const nacelle_graph&, const nacelle_op& op) {
  return attributes_of<nacelle_position_scale_attributes>(op).length != 0;
}

bool check_activation(const nacelle_graph&, const nacelle_op& op) {
  const auto activation = attributes_of<nacelle_activation_attributes>(op).activation;
  return activation >= NACELLE_ACT_SILU && activation <= NACELLE_ACT_SIGMOID;
}

// A state of so many values is what the cache group holds.
bool fits_state(const nacelle_graph& graph, std::uint32_t group, std::uint32_t layer, std::uint64_t values) {
  if (group >= graph.cache_group_count) return false;
  const auto of = sdk::load(graph.cache_groups[group]);
  return of.kind == NACELLE_CACHE_STATE && layer < of.layer_count && of.key_width == values;
}

bool check_scan(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes_of<nacelle_scan_attributes>(op);
  return (of.rule == NACELLE_SCAN_ADD || of.rule == NACELLE_SCAN_DELTA) && of.group_count &&
         of.head_count % of.group_count == 0 &&
         fits_state(graph, of.cache_group, of.cache_layer,
                    std::uint64_t{of.head_count} * of.key_width * of.value_width);
}

bool check_convolution(const nacelle_graph& graph, const nacelle_op& op) {
  const auto of = attributes_of<nacelle_convolution_attributes>(op);
  const auto width = static_cast<std::uint64_t>(graph.values[op.inputs[0]]->shape[1]);
  return of.length >= 2 && of.activation <= NACELLE_ACT_SIGMOID &&
         fits_state(graph, of.cache_group, of.cache_layer, (of.length - std::uint64_t{1}) * width);
}

bool check_pool(const nacelle_graph&, const nacelle_op& op) {
  const auto pooling = attributes_of<nacelle_pool_attributes>(op).pooling;
  return pooling >= NACELLE_POOL_MEAN && pooling <= NACELLE_POOL_LAST;
}

bool check_moe(const nacelle_graph&, const nacelle_op& op) {
  const auto moe = attributes_of<nacelle_moe_attributes>(op);
  return op.kind == NACELLE_OP_MOE_ROUTE ? routing_is_valid(moe) : experts_are_valid(moe);
}

bool check_adapter(const nacelle_graph& graph, const nacelle_op& op) {
  const std::uint32_t target = attributes_of<nacelle_adapter_attributes>(op).target;
  return target < graph.value_count && graph.values[target]->kind == NACELLE_VALUE_WEIGHT;
}

constexpr std::uint32_t kAny = 0xffffffffu;

struct OpEntry {
  std::uint32_t kind;
  const char* name;
  std::uint32_t required_inputs;  // the first ones; the others are optional
  std::uint32_t output_count;
  bool has_attributes;
  bool (*check)(const nacelle_graph&, const nacelle_op&);  // may be nullptr
  OpFunction run;
};

constexpr OpEntry kOps[] = {
    {NACELLE_OP_EMBEDDING, "embedding", 2, 1, true, nullptr, embedding},
    {NACELLE_OP_MATMUL, "matmul", 2, 1, false, nullptr, matmul},
    {NACELLE_OP_RMS_NORM, "rms_norm", 1, 1, true, nullptr, rms_norm},
    {NACELLE_OP_LAYER_NORM, "layer_norm", 1, 1, true, nullptr, layer_norm},
    {NACELLE_OP_ROPE, "rope", 2, 1, true, check_rope, rope},
    {NACELLE_OP_ATTENTION, "attention", 2, 1, true, check_attention, attention},
    {NACELLE_OP_UNARY, "unary", 1, 1, true, check_activation, unary},
    {NACELLE_OP_GATED, "gated", 2, 1, true, check_activation, gated},
    {NACELLE_OP_SOFTMAX, "softmax", 1, 1, false, nullptr, softmax},
    {NACELLE_OP_ADD, "add", 2, 1, false, nullptr, add},
    {NACELLE_OP_MUL, "mul", 2, 1, false, nullptr, mul},
    {NACELLE_OP_SCALE, "scale", 1, 1, true, nullptr, scale},
    {NACELLE_OP_SPLIT, "split", 1, kAny, false, nullptr, split},
    {NACELLE_OP_CONCAT, "concat", 1, 1, false, nullptr, concat},
    {NACELLE_OP_GATHER, "gather", 2, 1, false, nullptr, gather},
    {NACELLE_OP_POOL, "pool", 1, 1, true, check_pool, pool},
    {NACELLE_OP_NORMALISE, "normalise", 1, 1, false, nullptr, normalise},
    {NACELLE_OP_MOE_ROUTE, "moe_route", 1, 2, true, check_moe, moe_route},
    {NACELLE_OP_MOE_MATMUL, "moe_matmul", 3, 1, true, check_moe, moe_matmul},
    {NACELLE_OP_MOE_COMBINE, "moe_combine", 2, 1, true, check_moe, moe_combine},
    {NACELLE_OP_ADAPTER_MATMUL, "adapter_matmul", 3, 1, true, check_adapter, adapter_matmul},
    {NACELLE_OP_MOE_ADAPTER_MATMUL, "moe_adapter_matmul", 4, 1, true, check_adapter, moe_adapter_matmul},
    {NACELLE_OP_CHUNKED_ATTENTION, "chunked_attention", 2, 1, true, check_chunks, attention},
    {NACELLE_OP_POSITION_SCALE, "position_scale", 2, 1, true, check_position_scale, position_scale},
    {NACELLE_OP_XIELU, "xielu", 2, 1, false, nullptr, xielu},
    {NACELLE_OP_STATE_SCAN, "state_scan", 5, 1, true, check_scan, state_scan},
    {NACELLE_OP_CONVOLUTION, "convolution", 2, 1, true, check_convolution, convolution},
    {NACELLE_OP_LOGITS_SELECT, "logits_select", 1, 0, false, nullptr, logits_select},
};

const OpEntry* find_op(std::uint32_t kind) {
  for (const OpEntry& entry : kOps)
    if (entry.kind == kind) return &entry;
  return nullptr;
}

}  // namespace

std::uint64_t Frame::extent(std::int64_t dim) const {
  switch (dim) {
    case NACELLE_DIM_ROWS: return step.row_count;
    case NACELLE_DIM_OUTPUT_ROWS: return step.output_row_count;
    case NACELLE_DIM_SEQUENCES: return step.sequence_count;
    default: return static_cast<std::uint64_t>(dim);
  }
}

bool has_input(const nacelle_op& op, std::uint32_t input) {
  return input < op.input_count && op.inputs[input] != NACELLE_NO_VALUE;
}

bool Call::has(std::uint32_t input) const { return has_input(op_, input); }

bool accepts(const nacelle_graph& graph, const nacelle_op& op) {
  const OpEntry* entry = find_op(op.kind);
  if (!entry || (entry->has_attributes && !op.attributes)) return false;
  if (entry->output_count != kAny && op.output_count != entry->output_count) return false;
  for (std::uint32_t i = 0; i < entry->required_inputs; ++i)
    if (!has_input(op, i)) return false;
  for (std::uint32_t i = 0; i < op.input_count; ++i) {
    if (!has_input(op, i)) continue;
    if (op.inputs[i] >= graph.value_count) return false;
    const nacelle_value& value = *graph.values[op.inputs[i]];
    if (value.kind == NACELLE_VALUE_WEIGHT && !is_readable(value.type)) return false;
  }
  return !entry->check || entry->check(graph, op);
}

const char* op_name(std::uint32_t kind) {
  const OpEntry* entry = find_op(kind);
  return entry ? entry->name : "unknown";
}

OpFunction find_function(const nacelle_graph& graph, const nacelle_op& op, std::span<const Replacement> replacements) {
  for (const Replacement& own : replacements)
    if (own.kind == op.kind && (!own.takes || own.takes(graph, op))) return own.run;
  return find_op(op.kind)->run;
}

}  // namespace nacelle::reference
