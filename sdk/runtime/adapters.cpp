#include "sdk/runtime/adapters.hpp"

#include <utility>

#include "sdk/runtime/graph_builder.hpp"

namespace nacelle::sdk {
namespace {

bool takes_adapter(const GraphRecord& graph, const OpRecord& op) {
  if (op.kind != NACELLE_OP_MATMUL || op.layer < 0 || static_cast<std::uint32_t>(op.layer) >= graph.layer_count)
    return false;
  const nacelle_value& weight = graph.values[op.inputs[1]];
  // The slots are the step's rows'; a product of other rows has none.
  return weight.kind == NACELLE_VALUE_WEIGHT && weight.rank == 2 &&
         graph.values[op.outputs[0]].shape[0] == NACELLE_DIM_ROWS;
}

std::uint32_t append(GraphRecord& graph, const nacelle_value& value) {
  graph.values.push_back(value);
  return static_cast<std::uint32_t>(graph.values.size() - 1);
}

std::uint32_t add_slots(GraphRecord& graph) { return append(graph, input_value(NACELLE_INPUT_ADAPTER_SLOTS)); }

}  // namespace

std::uint32_t add_adapters(GraphRecord& graph) {
  std::uint32_t slots = NACELLE_NO_VALUE, count = 0;
  std::vector<OpRecord> ops;
  for (OpRecord& op : graph.ops) {
    if (!takes_adapter(graph, op)) {
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
    ops.push_back(std::move(op));
    ops.push_back(std::move(adapter));
    ++count;
  }
  graph.ops = std::move(ops);
  return count;
}

}  // namespace nacelle::sdk
