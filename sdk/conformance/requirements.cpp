#include "sdk/conformance/requirements.hpp"

#include <algorithm>

namespace nacelle::conformance {
namespace {

constexpr nacelle_type kWeightTypes[] = {NACELLE_TYPE_F32,  NACELLE_TYPE_F16,  NACELLE_TYPE_BF16, NACELLE_TYPE_Q8_0,
                                         NACELLE_TYPE_Q4_0, NACELLE_TYPE_Q4_K, NACELLE_TYPE_Q6_K};
constexpr nacelle_type kCacheTypes[] = {NACELLE_TYPE_F32, NACELLE_TYPE_F16};

template <class List>
bool contains(const List& list, nacelle_type type) {
  return std::find(std::begin(list), std::end(list), type) != std::end(list);
}

bool has_input(const sdk::OpRecord& op, std::size_t index) {
  return index < op.inputs.size() && op.inputs[index] != NACELLE_NO_VALUE;
}

bool is_emitted_norm(const sdk::OpRecord& op) {
  const auto a = op.attributes.as<nacelle_norm_attributes>();
  // Heads of length 1 have no weight.
  if (op.kind == NACELLE_OP_RMS_NORM) return has_input(op, 1) || a.group != 0;
  return has_input(op, 1) == (a.group == 0);  // of heads that each have weights of their own: without
}

bool is_emitted_attention(const sdk::OpRecord& op) {
  const auto a = op.attributes.as<nacelle_attention_attributes>();
  const bool whole = a.cache_group == NACELLE_NO_CACHE && !has_input(op, 3) && a.soft_cap == 0 && a.alibi_bias == 0;
  // Values in the keys: DeepSeek's latent vectors.
  return (a.causal ? a.cache_group != NACELLE_NO_CACHE : whole) && (has_input(op, 2) || a.causal) &&
         !has_input(op, 4) && a.key_width % 8 == 0 && a.value_width % 8 == 0;
}

// Those that config.json may name, the tanh of a classifier's head, and the sigmoid of gates.
bool is_emitted_activation(const sdk::OpRecord& op) {
  const auto a = op.attributes.as<nacelle_activation_attributes>();
  if (op.kind == NACELLE_OP_UNARY && a.activation == NACELLE_ACT_TANH) return true;
  if (a.activation == NACELLE_ACT_SIGMOID) return true;
  return a.activation >= NACELLE_ACT_SILU && a.activation <= NACELLE_ACT_RELU && a.activation != NACELLE_ACT_GELU_QUICK;
}

bool is_emitted_route(const sdk::OpRecord& op) {
  const auto a = op.attributes.as<nacelle_moe_attributes>();
  return a.routing != NACELLE_ROUTE_TOP_THEN_SOFTMAX || (!has_input(op, 1) && a.group_count == 0 && a.scale == 1);
}

// Kinds that came after ABI 1.0: a backend may say no to them, and a model that has one is refused there by name.
bool may_be_declined(const sdk::OpRecord& op) {
  return op.kind == NACELLE_OP_STATE_SCAN || op.kind == NACELLE_OP_CONVOLUTION ||
         op.kind == NACELLE_OP_MOE_ADAPTER_MATMUL || op.kind == NACELLE_OP_CHUNKED_ATTENTION ||
         op.kind == NACELLE_OP_POSITION_SCALE || op.kind == NACELLE_OP_XIELU;
}

}  // namespace

bool is_emitted(const sdk::GraphRecord& graph, const sdk::OpRecord& op) {
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING:
    case NACELLE_OP_MATMUL:
    case NACELLE_OP_ROPE:
    case NACELLE_OP_SCALE:
    case NACELLE_OP_SPLIT:
    case NACELLE_OP_CONCAT:
    case NACELLE_OP_POOL:
    case NACELLE_OP_MOE_MATMUL:
    case NACELLE_OP_MOE_COMBINE:
    case NACELLE_OP_LOGITS_SELECT:
    case NACELLE_OP_STATE_SCAN:
    case NACELLE_OP_CONVOLUTION:
    case NACELLE_OP_POSITION_SCALE:
    case NACELLE_OP_XIELU:
    case NACELLE_OP_MUL: return true;
    case NACELLE_OP_ADD: return graph.values.at(op.inputs[1]).rank == 2;
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM: return is_emitted_norm(op);
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: return is_emitted_attention(op);
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED: return is_emitted_activation(op);
    case NACELLE_OP_GATHER: return graph.values.at(op.inputs[1]).role == NACELLE_INPUT_OUTPUT_ROWS;
    case NACELLE_OP_MOE_ROUTE: return is_emitted_route(op);
    default: return false;
  }
}

bool is_required(const Case& of) {
  const sdk::GraphRecord& graph = of.record();
  for (const Source& weight : of.weights)
    if (!contains(kWeightTypes, graph.values[weight.value].type)) return false;
  if (!graph.cache_groups.empty() && !(contains(kCacheTypes, of.key_type) && contains(kCacheTypes, of.value_type)))
    return false;
  return std::all_of(graph.ops.begin(), graph.ops.end(),
                     [&](const sdk::OpRecord& op) { return is_emitted(graph, op) && !may_be_declined(op); });
}

}  // namespace nacelle::conformance
