#include "core/engine/product_inputs.hpp"

namespace nacelle {

std::vector<ProductInput> product_inputs(const sdk::GraphRecord& graph) {
  std::vector<ProductInput> inputs;
  for (const sdk::OpRecord& op : graph.ops) {
    if (op.kind != NACELLE_OP_MATMUL && op.kind != NACELLE_OP_MOE_MATMUL) continue;
    const nacelle_value &x = graph.values[op.inputs[0]], &weight = graph.values[op.inputs[1]];
    if (weight.kind != NACELLE_VALUE_WEIGHT || x.kind == NACELLE_VALUE_INPUT || x.shape[0] != NACELLE_DIM_ROWS)
      continue;
    ProductInput input{.weight = &graph.weights[weight.weight],
                       .value = op.inputs[0],
                       .width = static_cast<std::uint32_t>(weight.shape[weight.rank - 1])};
    if (op.kind == NACELLE_OP_MOE_MATMUL) {
      const auto attributes = op.attributes.as<nacelle_moe_attributes>();
      input.experts = op.inputs[2];
      input.expert_count = attributes.expert_count;
      input.used = attributes.used_count;
      input.per_expert = attributes.x_per_expert != 0;
    }
    inputs.push_back(input);
  }
  return inputs;
}

void expose_product_inputs(sdk::GraphRecord& graph) {
  for (const ProductInput& input : product_inputs(graph))
    for (const std::uint32_t id : {input.value, input.experts})
      if (id != NACELLE_NO_VALUE && graph.values[id].output == NACELLE_OUTPUT_NONE)
        graph.values[id].output = NACELLE_OUTPUT_BOUNDARY;
}

}  // namespace nacelle
