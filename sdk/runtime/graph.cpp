// Freezing a record: plain structs and stable pointer arrays.
#include "sdk/runtime/graph.hpp"

#include <algorithm>

#include "sdk/runtime/op_rules.hpp"

namespace nacelle::sdk {
namespace {

template <class T>
std::vector<const T*> pointers(const std::vector<T>& items) {
  std::vector<const T*> result;
  result.reserve(items.size());
  for (const T& item : items) result.push_back(&item);
  return result;
}

nacelle_op plain(const OpRecord& record) {
  auto op = make<nacelle_op>();
  op.kind = record.kind;
  op.layer = record.layer;
  op.input_count = static_cast<std::uint32_t>(record.inputs.size());
  op.output_count = static_cast<std::uint32_t>(record.outputs.size());
  op.inputs = record.inputs.data();
  op.outputs = record.outputs.data();
  op.attributes = record.attributes.data();
  return op;
}

nacelle_weight plain(const WeightRecord& record) {
  auto weight = make<nacelle_weight>();
  weight.name = view(record.name);
  weight.value = record.value;
  weight.layer = record.layer;
  return weight;
}

}  // namespace

Graph::Graph(GraphRecord record) : record_(std::move(record)), view_(make<nacelle_graph>()) {
  for (OpRecord& op : record_.ops)
    op.inputs.resize(std::max<std::size_t>(op.inputs.size(), most_inputs(op.kind)), NACELLE_NO_VALUE);
  ops_.reserve(record_.ops.size());
  for (const OpRecord& op : record_.ops) ops_.push_back(plain(op));
  weights_.reserve(record_.weights.size());
  for (const WeightRecord& weight : record_.weights) weights_.push_back(plain(weight));
  value_pointers_ = pointers(record_.values);
  op_pointers_ = pointers(ops_);
  weight_pointers_ = pointers(weights_);
  group_pointers_ = pointers(record_.cache_groups);

  view_.flags = record_.flags;
  view_.layer_count = record_.layer_count;
  view_.vocabulary = record_.vocabulary;
  view_.value_count = static_cast<std::uint32_t>(value_pointers_.size());
  view_.op_count = static_cast<std::uint32_t>(op_pointers_.size());
  view_.weight_count = static_cast<std::uint32_t>(weight_pointers_.size());
  view_.cache_group_count = static_cast<std::uint32_t>(group_pointers_.size());
  view_.values = value_pointers_.data();
  view_.ops = op_pointers_.data();
  view_.weights = weight_pointers_.data();
  view_.cache_groups = group_pointers_.data();
}

std::uint32_t Graph::find_output(std::uint32_t output) const noexcept {
  for (std::uint32_t id = 0; id < record_.values.size(); ++id)
    if (record_.values[id].output == output) return id;
  return NACELLE_NO_VALUE;
}

}  // namespace nacelle::sdk
