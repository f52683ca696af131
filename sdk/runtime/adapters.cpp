#include "sdk/runtime/adapters.hpp"

#include <algorithm>
#include <utility>

#include "sdk/runtime/graph_builder.hpp"

namespace nacelle::sdk {
namespace {

bool takes_adapter(const GraphRecord& graph, const OpRecord& op, bool experts) {
  const bool of_experts = op.kind == NACELLE_OP_MOE_MATMUL;
  if (of_experts ? !experts : op.kind != NACELLE_OP_MATMUL) return false;
  if (op.layer < 0 || static_cast<std::uint32_t>(op.layer) >= graph.layer_count) return false;
  const nacelle_value& weight = graph.values[op.inputs[1]];
  // The slots are the step's rows'; a product of other rows has none.
  return weight.kind == NACELLE_VALUE_WEIGHT && weight.rank == (of_experts ? 3 : 2) &&
         graph.values[op.outputs[0]].shape[0] == NACELLE_DIM_ROWS;
}

std::uint32_t append(GraphRecord& graph, const nacelle_value& value) {
  graph.values.push_back(value);
  return static_cast<std::uint32_t>(graph.values.size() - 1);
}

std::uint32_t add_slots(GraphRecord& graph) { return append(graph, input_value(NACELLE_INPUT_ADAPTER_SLOTS)); }

}  // namespace

bool is_adapter(const OpRecord& op) noexcept {
  return op.kind == NACELLE_OP_ADAPTER_MATMUL || op.kind == NACELLE_OP_MOE_ADAPTER_MATMUL;
}

std::uint32_t add_adapters(GraphRecord& graph, bool experts) {
  std::uint32_t slots = NACELLE_NO_VALUE, count = 0;
  std::vector<OpRecord> ops;
  for (OpRecord& op : graph.ops) {
    if (!takes_adapter(graph, op, experts)) {
      ops.push_back(std::move(op));
      continue;
    }
    if (slots == NACELLE_NO_VALUE) slots = add_slots(graph);
    const std::uint32_t result = op.outputs[0];
    nacelle_value product = graph.values[result];
    product.output = NACELLE_OUTPUT_NONE;
    op.outputs[0] = append(graph, product);
    auto attributes = make<nacelle_adapter_attributes>();
    attributes.target = op.inputs[1];
    OpRecord adapter{
        NACELLE_OP_ADAPTER_MATMUL, op.layer, {op.outputs[0], op.inputs[0], slots}, {result}, Attributes(attributes)};
    if (op.kind == NACELLE_OP_MOE_MATMUL) {
      adapter.kind = NACELLE_OP_MOE_ADAPTER_MATMUL;
      adapter.inputs.push_back(op.inputs[2]);
    }
    ops.push_back(std::move(op));
    ops.push_back(std::move(adapter));
    ++count;
  }
  graph.ops = std::move(ops);
  return count;
}

std::optional<TokenEmbedding> find_embedding(const GraphRecord& graph) {
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const OpRecord& op = graph.ops[i];
    if (op.kind != NACELLE_OP_EMBEDDING) continue;
    const nacelle_value& tokens = graph.values[op.inputs[0]];
    if (tokens.kind != NACELLE_VALUE_INPUT || tokens.role != NACELLE_INPUT_TOKENS) continue;
    TokenEmbedding found{op.inputs[1], op.attributes.as<nacelle_embedding_attributes>().scale, false};
    if (i + 1 < graph.ops.size()) {
      const OpRecord& next = graph.ops[i + 1];
      if (next.kind == NACELLE_OP_ADD && next.inputs[0] == op.outputs[0] &&
          graph.values[next.inputs[1]].kind == NACELLE_VALUE_BOUNDARY)
        found.has_change = true;
    }
    return found;
  }
  return std::nullopt;
}

bool add_embedding_change(GraphRecord& graph) {
  const auto embedding = find_embedding(graph);
  if (!embedding) return false;
  const auto op = std::ranges::find_if(graph.ops, [&](const OpRecord& one) {
    return one.kind == NACELLE_OP_EMBEDDING && one.inputs[1] == embedding->table;
  });
  const std::uint32_t result = op->outputs[0];
  nacelle_value rows = graph.values[result];
  rows.output = NACELLE_OUTPUT_NONE;
  const std::uint32_t embedded = op->outputs[0] = append(graph, rows);
  rows.kind = NACELLE_VALUE_BOUNDARY;
  const std::uint32_t change = append(graph, rows);
  graph.ops.insert(op + 1, {NACELLE_OP_ADD, op->layer, {embedded, change}, {result}, {}});
  return true;
}

std::optional<HeadPath> find_head(const GraphRecord& graph) {
  const auto maker = [&](std::uint32_t value) -> const OpRecord* {
    for (const OpRecord& op : graph.ops)
      if (std::ranges::find(op.outputs, value) != op.outputs.end()) return &op;
    return nullptr;
  };
  std::uint32_t logits = NACELLE_NO_VALUE;
  for (std::uint32_t id = 0; id < graph.values.size(); ++id)
    if (graph.values[id].output == NACELLE_OUTPUT_LOGITS) logits = id;
  HeadPath path;
  const OpRecord* op = logits == NACELLE_NO_VALUE ? nullptr : maker(logits);
  if (op && op->kind == NACELLE_OP_SCALE) {
    const auto attributes = op->attributes.as<nacelle_scale_attributes>();
    path.scale = attributes.scale;
    path.soft_cap = attributes.soft_cap;
    op = maker(op->inputs[0]);
  }
  if (!op || op->kind != NACELLE_OP_MATMUL) return std::nullopt;
  path.weight = op->inputs[1];
  const nacelle_value& weight = graph.values[path.weight];
  if (graph.values[op->inputs[0]].output != NACELLE_OUTPUT_EMBEDDING || weight.kind != NACELLE_VALUE_WEIGHT ||
      weight.rank != 2)
    return std::nullopt;
  return path;
}

}  // namespace nacelle::sdk
