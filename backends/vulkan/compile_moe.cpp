// Mixtures of experts and low-rank adapters: products whose weights are chosen on the device, row by row.
#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kFewPairs = 16;  // up to which each pair (row, expert) is a product of its own
constexpr std::uint32_t kTilePairs = 4;  // that share what is read of an expert, beyond
constexpr std::uint32_t kGroupThreads = 256;

}  // namespace

void Compiler::moe_route(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const Ref scores = read(op.inputs[0]), experts = write(op.outputs[0]), weights = write(op.outputs[1]);
  push(pipeline("moe_route", {device_.profile().row_threads}), {1, scores.place->lead},
       {scores, absolute(weights_.vector(input(op, 1))), experts, weights},
       {scores.place->stride, experts.place->stride, weights.place->stride, of.expert_count, of.used_count, of.routing,
        of.renormalise, of.group_count, of.group_used, of.scale});
}

// With few pairs of a row and an expert each is a product of its own; with many they are sorted by expert first.
void Compiler::moe_matmul(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const PackedMatrix& matrix = weights_.matrix(op.inputs[1]);
  const auto outputs = static_cast<std::uint32_t>(matrix.shape.rows / of.expert_count);
  const std::uint32_t panels = (outputs + kPanelColumns - 1) / kPanelColumns;
  const Ref x = read(op.inputs[0]);
  Ref experts = read(op.inputs[2]), pairs = absolute(0);
  const std::uint32_t experts_stride = experts.place->stride;
  const Lead lead = x.place->lead;
  const std::uint64_t most = std::uint64_t{most_rows(lead)} * of.used_count;
  const bool grouped = most > kFewPairs;
  Grid grid{panels * of.used_count, lead};
  if (grouped) {
    const auto [members, tiles] = group_pairs(experts, of);
    experts = tiles, pairs = members;
    grid = {panels, lead, kTilePairs, 0, of.used_count, of.expert_count};
  }
  const std::uint32_t slices = device_.profile().slices_side_by_side ? matrix.slices : 1;
  const Ref y = write(op.outputs[0]);
  push(pipeline(std::string("moe_matmul_") + format_name(matrix.shape.format),
                {kPanelColumns, slices, grouped ? kTilePairs : 0}),
       grid,
       {x, absolute(matrix.codes()), absolute(matrix.headers()), absolute(weights_.vector(input(op, 3))), y, experts,
        pairs},
       {outputs, static_cast<std::uint32_t>(matrix.shape.columns), static_cast<std::uint32_t>(matrix.shape.blocks),
        matrix.slices, matrix.slice_blocks, x.place->stride, y.place->stride, experts_stride, of.expert_count,
        of.used_count | (of.x_per_expert ? 1u << 16 : 0u), matrix.extra_bytes()});
}

// The pairs by expert and their tiles, made once for all products of the same choice.
std::pair<Ref, Ref> Compiler::group_pairs(const Ref& experts, const nacelle_moe_attributes& of) {
  const auto found = grouped_.find(experts.place);
  if (found != grouped_.end()) return {from(found->second.first), from(found->second.second)};
  const Lead lead = experts.place->lead;
  Place* pairs = make_place(Space::kArena, lead, of.used_count);
  // Three words a tile, of which each expert may have one that is not full.
  Place* tiles = make_place(Space::kArena, lead, 3 * of.used_count);
  tiles->bytes += 4 * (std::uint64_t{3} * of.expert_count + 1);
  const auto once = static_cast<std::uint32_t>(most_rows(lead));  // one workgroup for all rows
  push(pipeline("moe_group", {kGroupThreads}), {1, lead, once}, {experts, counts(lead), to(pairs), to(tiles)},
       {experts.place->stride, of.expert_count, of.used_count, kTilePairs});
  grouped_[experts.place] = {pairs, tiles};
  return {from(pairs), from(tiles)};
}

void Compiler::moe_combine(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const Ref y = read(op.inputs[0]), weights = read(op.inputs[1]), z = write(op.outputs[0]);
  push(pipeline("moe_combine", {device_.profile().wide_threads}), columns_grid(z.place->width, z.place->lead),
       {y, weights, z}, {z.place->width, of.used_count, y.place->stride, weights.place->stride, z.place->stride});
}

void Compiler::adapter(const nacelle_op& op) {
  const Ref y = read(op.inputs[0]), x = read(op.inputs[1]), z = write(op.outputs[0]);
  const std::uint32_t target = attributes<nacelle_adapter_attributes>(op).target;
  const auto [entries, count] = weights_.adapters(target);
  const sdk::AdapterShape of = sdk::adapter_shape(*graph_.values[target]);
  const bool has_experts = op.kind == NACELLE_OP_MOE_ADAPTER_MATMUL;
  const Ref experts = has_experts ? read(op.inputs[3]) : absolute(0);
  const std::uint32_t used = has_experts ? experts.place->width : 1, columns = static_cast<std::uint32_t>(of.columns);
  push(pipeline("adapter", {device_.profile().wide_threads}), {used, z.place->lead},
       {y, x, indices_of(op.inputs[2]), absolute(entries), z, experts},
       {z.place->width / used, columns, count, y.place->stride, x.place->stride, z.place->stride,
        has_experts ? experts.place->stride : 0, has_experts ? static_cast<std::uint32_t>(of.matrices) : 0,
        x.place->width == columns ? 0 : columns});
}

}  // namespace nacelle::vulkan
