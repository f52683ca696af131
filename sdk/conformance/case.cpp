#include "sdk/conformance/case.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>

#include "sdk/runtime/op_rules.hpp"

namespace nacelle::conformance {

Case::Case(std::string case_name, sdk::GraphRecord record, std::vector<std::vector<std::byte>> weight_bytes)
    : name(std::move(case_name)), subject(kDecoder), stored(std::move(weight_bytes)), record_(std::move(record)) {
  for (const sdk::WeightRecord& weight : record_.weights) weights.push_back({weight.value, 0});
  for (std::uint32_t v = 0; v < record_.values.size(); ++v)
    if (record_.values[v].output == NACELLE_OUTPUT_LOGITS ||
        (record_.values[v].output == NACELLE_OUTPUT_EMBEDDING && !record_.vocabulary))
      result = v;
}

std::uint32_t Case::add(const nacelle_value& value) {
  record_.values.push_back(value);
  return static_cast<std::uint32_t>(record_.values.size() - 1);
}

std::uint32_t Case::input(std::uint32_t role) {
  auto value = sdk::make<nacelle_value>();
  value.kind = NACELLE_VALUE_INPUT;
  value.role = role;
  value.weight = NACELLE_NO_VALUE;
  value.type = NACELLE_TYPE_U32;
  value.rank = 1;
  value.shape[0] = role == NACELLE_INPUT_OUTPUT_ROWS ? NACELLE_DIM_OUTPUT_ROWS : NACELLE_DIM_ROWS;
  return add(value);
}

std::uint32_t Case::rows(std::int64_t width, std::uint64_t seed, float scale) {
  auto value = sdk::make<nacelle_value>();
  value.kind = NACELLE_VALUE_BOUNDARY;
  value.weight = NACELLE_NO_VALUE;
  value.type = NACELLE_TYPE_F32;
  value.rank = 2;
  value.shape[0] = NACELLE_DIM_ROWS;
  value.shape[1] = width;
  boundaries.push_back({add(value), seed, scale});
  return boundaries.back().value;
}

std::uint32_t Case::weight(nacelle_type type, std::initializer_list<std::int64_t> shape, std::uint64_t seed,
                           float scale, float offset) {
  return weight(type, std::vector<std::int64_t>(shape), seed, scale, offset);
}

std::uint32_t Case::weight(nacelle_type type, const std::vector<std::int64_t>& shape, std::uint64_t seed, float scale,
                           float offset) {
  auto value = sdk::make<nacelle_value>();
  value.kind = NACELLE_VALUE_WEIGHT;
  value.weight = static_cast<std::uint32_t>(record_.weights.size());
  value.type = type;
  value.rank = static_cast<std::uint32_t>(shape.size());
  std::ranges::copy(shape, value.shape);
  weights.push_back({add(value), seed, scale, offset});
  record_.weights.push_back({"weight " + std::to_string(value.weight), weights.back().value, -1, nullptr});
  return weights.back().value;
}

std::vector<std::uint32_t> Case::op(std::uint32_t kind, std::vector<std::uint32_t> inputs, sdk::Attributes attributes,
                                    std::vector<std::int64_t> split_widths, std::uint32_t outputs) {
  sdk::OpRecord op{kind, -1, std::move(inputs), {}, std::move(attributes)};
  if (kind != NACELLE_OP_LOGITS_SELECT) {
    std::vector<const nacelle_value*> values;
    for (const std::uint32_t id : op.inputs)
      values.push_back(id == NACELLE_NO_VALUE ? nullptr : &record_.values.at(id));
    const sdk::OpAnswer answer =
        sdk::check_op({kind, values, outputs, op.attributes.data(), split_widths, record_.cache_groups,
                       static_cast<std::uint32_t>(record_.values.size())});
    for (const nacelle_value& value : answer.outputs) op.outputs.push_back(add(value));
    op.attributes = answer.attributes;
  }
  record_.ops.push_back(op);
  subject = kind;
  return op.outputs;
}

void Case::set_result(std::uint32_t value, std::uint32_t output) {
  result = value;
  record_.values.at(value).output = output;
  if (output == NACELLE_OUTPUT_LOGITS) record_.vocabulary = static_cast<std::uint32_t>(record_.values[value].shape[1]);
}

std::uint32_t Case::cache_group(std::uint32_t key_width, std::uint32_t value_width, std::uint32_t layers,
                                std::uint32_t window) {
  auto group = sdk::make<nacelle_cache_group>();
  group.kind = NACELLE_CACHE_PAGED;
  group.layer_count = layers;
  group.key_width = key_width;
  group.value_width = value_width;
  group.window = window;
  record_.cache_groups.push_back(group);
  return static_cast<std::uint32_t>(record_.cache_groups.size() - 1);
}

std::uint32_t Case::state_group(std::uint32_t values, std::uint32_t layers) {
  const std::uint32_t group = cache_group(values, 0, layers);
  record_.cache_groups[group].kind = NACELLE_CACHE_STATE;
  return group;
}

}  // namespace nacelle::conformance
