// Which weights of a graph adapters may change, and what an adapter has for one.
#include <algorithm>

#include "core/engine/adapter.hpp"
#include "sdk/runtime/adapters.hpp"

namespace nacelle {

const AdapterPart* Adapter::find(std::string_view weight) const noexcept {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const AdapterPart& part) { return part.weight == weight; });
  return found == parts.end() ? nullptr : &*found;
}

std::vector<AdapterTarget> adapter_targets(const sdk::GraphRecord& graph) {
  std::vector<AdapterTarget> targets;
  const auto add = [&](AdapterPlace place, std::uint32_t value, float scale, float soft_cap, bool ready) {
    const nacelle_value& shape = graph.values[value];
    const sdk::WeightRecord& weight = graph.weights[shape.weight];
    targets.push_back({place,
                       scale,
                       soft_cap,
                       ready,
                       weight.name,
                       weight.layer,
                       {shape.shape, shape.shape + shape.rank},
                       weight.source});
  };
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const sdk::OpRecord& op = graph.ops[i];
    if (sdk::is_adapter(op))
      add(AdapterPlace::kLayer, op.attributes.as<nacelle_adapter_attributes>().target, 1, 0, true);
    else if (op.kind == NACELLE_OP_MOE_MATMUL && (i + 1 == graph.ops.size() || !sdk::is_adapter(graph.ops[i + 1])))
      add(AdapterPlace::kLayer, op.inputs[1], 1, 0, false);
  }
  if (const auto head = sdk::find_head(graph))
    add(AdapterPlace::kHead, head->weight, head->scale, head->soft_cap, true);
  if (const auto embedding = sdk::find_embedding(graph))
    add(AdapterPlace::kEmbedding, embedding->table, embedding->scale, 0, embedding->has_change);
  return targets;
}

}  // namespace nacelle
