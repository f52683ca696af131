#include "api/cli/limits.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

namespace nacelle::cli {
namespace {

// A matrix [..., K]: elements and stored bytes.
struct Size {
  double elements = 1, bytes = 0;
  bool is_integer = false;

  Size part(double share) const { return {share * elements, share * bytes, is_integer}; }
};

Size size_of(const nacelle_value& weight) {
  Size size;
  for (std::uint32_t i = 0; i < weight.rank; ++i) size.elements *= static_cast<double>(weight.shape[i]);
  const TypeInfo* type = type_info(weight.type);
  size.bytes = type ? size.elements / type->block_elements * type->block_bytes : 0;
  size.is_integer = type && type->block_elements > 1;
  return size;
}

// What one token needs of a product's weights; nothing for other operations.
Size work_of(const nacelle_graph& graph, const nacelle_op& op) {
  if (op.kind != NACELLE_OP_MATMUL && op.kind != NACELLE_OP_MOE_MATMUL) return {0, 0, false};
  const Size all = size_of(*graph.values[op.inputs[1]]);
  if (op.kind == NACELLE_OP_MATMUL) return all;
  const auto moe = sdk::load(static_cast<const nacelle_moe_attributes*>(op.attributes));
  return all.part(static_cast<double>(moe.used_count) / moe.expert_count);
}

}  // namespace

TokenWork work_of(std::span<const nacelle_graph* const> segments) {
  TokenWork work;
  double integer_bytes = 0;
  for (const nacelle_graph* graph : segments)
    for (std::uint32_t i = 0; i < graph->op_count; ++i) {
      const nacelle_op& op = *graph->ops[i];
      const Size size = work_of(*graph, op);
      const bool in_layer = op.layer >= 0 && static_cast<std::uint32_t>(op.layer) < graph->layer_count;
      work.operations += 2 * size.elements;
      if (in_layer) work.layer_operations += 2 * size.elements;
      work.bytes += size.bytes;
      if (size.is_integer) integer_bytes += size.bytes;
    }
  work.is_integer = integer_bytes > work.bytes / 2;
  return work;
}

Limits limits_of(const TokenWork& work, const nacelle_ceilings& ceilings) {
  if (work.bytes <= 0) return {};
  const double peak = work.is_integer ? ceilings.int8_ops : std::max(ceilings.bf16_ops, ceilings.f32_ops);
  return {peak / work.layer_operations, ceilings.read_bytes / work.bytes, peak / work.operations};
}

}  // namespace nacelle::cli
