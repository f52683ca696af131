#include "core/plugin_host/isolation/graph_wire.hpp"

#include <algorithm>

namespace nacelle::isolation {
namespace {

void put_op(Writer& out, const nacelle_op& op) {
  out.put(op.kind);
  out.put(op.layer);
  out.put_array(op.inputs, op.input_count);
  out.put_array(op.outputs, op.output_count);
  // Every kind's attributes begin with their size.
  std::uint32_t size = 0;
  if (op.attributes) std::memcpy(&size, op.attributes, sizeof size);
  out.put_array(static_cast<const std::byte*>(op.attributes), size);
}

sdk::OpRecord get_op(Reader& in) {
  sdk::OpRecord op;
  op.kind = in.get<std::uint32_t>();
  op.layer = in.get<std::int32_t>();
  const auto inputs = in.get_array<std::uint32_t>(), outputs = in.get_array<std::uint32_t>();
  op.inputs.assign(inputs.begin(), inputs.end());
  op.outputs.assign(outputs.begin(), outputs.end());
  op.attributes = sdk::Attributes::from_bytes(in.get_array<std::byte>());
  return op;
}

}  // namespace

void put_graph(Writer& out, const nacelle_graph& graph) {
  out.put(graph.flags);
  out.put(graph.layer_count);
  out.put(graph.vocabulary);
  out.put(graph.value_count);
  for (std::uint32_t i = 0; i < graph.value_count; ++i) out.put_struct(graph.values[i]);
  out.put(graph.op_count);
  for (std::uint32_t i = 0; i < graph.op_count; ++i) put_op(out, *graph.ops[i]);
  out.put(graph.weight_count);
  for (std::uint32_t i = 0; i < graph.weight_count; ++i) {
    out.put_text(sdk::view(graph.weights[i]->name));
    out.put(graph.weights[i]->value);
    out.put(graph.weights[i]->layer);
  }
  out.put(graph.cache_group_count);
  for (std::uint32_t i = 0; i < graph.cache_group_count; ++i) out.put_struct(graph.cache_groups[i]);
}

sdk::GraphRecord get_graph(Reader& in) {
  sdk::GraphRecord graph;
  graph.flags = in.get<std::uint32_t>();
  graph.layer_count = in.get<std::uint32_t>();
  graph.vocabulary = in.get<std::uint32_t>();
  for (auto left = in.get<std::uint32_t>(); left > 0; --left) graph.values.push_back(in.get<nacelle_value>());
  for (auto left = in.get<std::uint32_t>(); left > 0; --left) graph.ops.push_back(get_op(in));
  for (auto left = in.get<std::uint32_t>(); left > 0; --left) {
    sdk::WeightRecord& weight = graph.weights.emplace_back();
    weight.name = in.get_text();
    weight.value = in.get<std::uint32_t>();
    weight.layer = in.get<std::int32_t>();
  }
  for (auto left = in.get<std::uint32_t>(); left > 0; --left)
    graph.cache_groups.push_back(in.get<nacelle_cache_group>());
  return graph;
}

}  // namespace nacelle::isolation
