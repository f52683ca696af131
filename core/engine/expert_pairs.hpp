// Low-rank pairs of a mixture's experts: a weight [E, N, K] and a tensor of experts are taken one matrix at a time, as
// if each were alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/formats/adapter_file.hpp"
#include "sdk/runtime/weight_expr.hpp"

namespace nacelle {

// "blk.0.ffn_up_exps.weight[3]"
std::string expert_name(std::string_view tensor, std::uint32_t expert);

// The expression [N, K] of one expert's matrix in `node` [E, N, K]; tensors of experts get the expert's name. What no
// pair can change is a constant. Nothing where the node mixes experts.
std::optional<sdk::WeightNode> expert_node(const sdk::WeightNode& node, std::uint32_t expert);

// Whether no reshape in it breaks rows: else a tensor that lies the other way round may come out with the shape that is
// wanted.
bool keeps_rows(const sdk::WeightNode& node);

// One expert's pair of `experts`, which divides the lines of A. The matrix is stored [B's width, A's width], or the
// other way round with `a_first`. All but tensor and scale.
LowRankChange expert_change(const ExpertsChange& of, std::uint32_t expert, std::uint32_t experts, bool a_first);

}  // namespace nacelle
