#include "core/engine/expert_pairs.hpp"

#include <algorithm>
#include <utility>

namespace nacelle {
namespace {

// The node without its first axis, and without inputs.
sdk::WeightNode bare(const sdk::WeightNode& node) {
  sdk::WeightNode one;
  one.kind = node.kind;
  one.type = node.type;
  one.shape.assign(node.shape.begin() + 1, node.shape.end());
  one.tensor = node.tensor;
  one.begin = node.begin;
  one.constant = node.constant;
  return one;
}

// [E * N, K] as [E, N, K]: one matrix that is a few, as of attention's heads.
bool heads_of_rows(const sdk::WeightNode& reshape) {
  return reshape.inputs[0].shape.size() == 2 && reshape.shape.size() == 3 &&
         reshape.shape[2] == reshape.inputs[0].shape[1];
}

}  // namespace

std::string expert_name(std::string_view tensor, std::uint32_t expert) {
  return std::string(tensor) + "[" + std::to_string(expert) + "]";
}

std::optional<sdk::WeightNode> expert_node(const sdk::WeightNode& node, std::uint32_t expert) {
  sdk::WeightNode one = bare(node);
  switch (node.kind) {
    case NACELLE_EXPR_TENSOR: one.tensor = expert_name(node.tensor, expert); return one;
    case NACELLE_EXPR_CONCAT:
      if (node.inputs[0].shape.size() < node.shape.size()) return node.inputs[expert];  // a stack
      [[fallthrough]];
    case NACELLE_EXPR_SLICE:
      if (node.axis == 0) return std::nullopt;
      one.axis = node.axis - 1;
      break;
    case NACELLE_EXPR_RESHAPE:
      if (heads_of_rows(node)) {
        one.kind = NACELLE_EXPR_SLICE;
        one.begin = expert * node.shape[1];
        one.inputs = node.inputs;
        return one;
      }
      if (node.inputs[0].shape.size() < 3 || node.inputs[0].shape[0] != node.shape[0]) return std::nullopt;
      break;
    case NACELLE_EXPR_PERMUTE:
      if (node.order[0] != 0) return std::nullopt;
      for (std::size_t i = 1; i < node.order.size(); ++i) one.order.push_back(node.order[i] - 1);
      break;
    case NACELLE_EXPR_ADD:
    case NACELLE_EXPR_DECODE:
    case NACELLE_EXPR_EXP:
    case NACELLE_EXPR_SCALE: break;
    default: one.kind = NACELLE_EXPR_CONSTANT; return one;
  }
  for (const sdk::WeightNode& input : node.inputs) {
    auto part = expert_node(input, expert);
    if (!part) return std::nullopt;
    one.inputs.push_back(*std::move(part));
  }
  return one;
}

bool keeps_rows(const sdk::WeightNode& node) {
  if (node.kind == NACELLE_EXPR_RESHAPE && node.shape.back() != node.inputs[0].shape.back()) return false;
  return std::ranges::all_of(node.inputs, keeps_rows);
}

LowRankChange expert_change(const ExpertsChange& of, std::uint32_t expert, std::uint32_t experts, bool a_first) {
  LowRankChange change;
  change.expert = expert;
  change.experts = experts;
  change.rank = static_cast<std::uint32_t>(of.lines / experts);
  change.rows = of.b_width;
  change.columns = of.a_width;
  const auto a = of.a.begin() + static_cast<std::ptrdiff_t>(std::uint64_t{expert} * change.rank * of.a_width);
  change.a.assign(a, a + static_cast<std::ptrdiff_t>(change.rank * of.a_width));
  change.b.reserve(change.rows * change.rank);
  for (std::uint64_t row = 0; row < change.rows; ++row)
    for (std::uint64_t r = 0; r < change.rank; ++r) change.b.push_back(of.b[row * of.lines + r * experts + expert]);
  if (a_first) change.transpose();
  return change;
}

}  // namespace nacelle
