// Mixture of experts: choosing experts for each row, their products, and the weighted sum of what they gave.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

constexpr double kExcluded = -std::numeric_limits<double>::infinity();

// The `count` best of `scores` into the front of `order`, best first; of equals the smaller index comes first.
void best_of(std::span<const double> scores, std::uint32_t count, std::vector<std::uint32_t>& order) {
  order.resize(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
}

void softmax_in_place(std::span<double> values) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (double& value : values) sum += value = std::exp(value - largest);
  for (double& value : values) value /= sum;
}

// Experts outside the best `group_used` groups can no longer be chosen. A group is worth its best expert (DeepSeek-V2),
// or the sum of its two best where experts are scored by sigmoid (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
void keep_best_groups(const nacelle_moe_attributes& moe, std::span<double> choice, Frame& frame) {
  std::vector<std::uint32_t>& order = frame.order;
  std::vector<double>& worth = frame.worth;
  const std::uint32_t size = moe.expert_count / moe.group_count;
  const std::uint32_t judged = moe.routing == NACELLE_ROUTE_SIGMOID ? std::min(size, 2u) : 1;
  worth.assign(moe.group_count, 0);
  for (std::uint32_t g = 0; g < moe.group_count; ++g) {
    const auto members = choice.subspan(g * size, size);
    best_of(members, judged, order);
    for (std::uint32_t i = 0; i < judged; ++i) worth[g] += members[order[i]];
  }
  best_of(worth, moe.group_count, order);
  for (std::uint32_t i = moe.group_used; i < moe.group_count; ++i)
    for (double& score : choice.subspan(order[i] * size, size)) score = kExcluded;
}

std::uint32_t checked_expert(std::uint32_t expert, std::uint32_t expert_count) {
  if (expert >= expert_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "moe: there is no expert " + std::to_string(expert));
  return expert;
}

}  // namespace

// p = softmax(scores), sigmoid(scores), or the scores themselves (top, then softmax). The k experts with the largest
// p + selection bias are chosen, largest first; the bias has no other part. Their weights are
//   softmax over all, then top (Mixtral's parent, Qwen-MoE, OLMoE):  p of the chosen, divided by their sum if
//   `renormalise` top, then softmax over the chosen (gpt-oss; equal to the above renormalised, Mixtral) sigmoid
//   (DeepSeek-V3, Llama 4):  p of the chosen, divided by their sum if `renormalise`
// and `scale` multiplies them last.
void moe_route(Call& call) {
  const auto moe = call.attributes<nacelle_moe_attributes>();
  const Matrix scores = call.in(0), weights = call.out(1);
  const Matrix bias = call.has(1) ? call.in(1) : Matrix{};
  const Indices experts = call.out_indices(0);
  Frame& frame = call.frame();
  std::vector<double>&p = frame.scores, &choice = frame.choice, &chosen = frame.chosen;
  p.resize(moe.expert_count);
  choice.resize(moe.expert_count);
  chosen.resize(moe.used_count);
  for (std::uint64_t r = 0; r < scores.rows; ++r) {
    std::copy_n(scores.row(r).begin(), moe.expert_count, p.begin());
    if (moe.routing == NACELLE_ROUTE_SOFTMAX_THEN_TOP) softmax_in_place(p);
    if (moe.routing == NACELLE_ROUTE_SIGMOID)
      for (double& value : p) value = 1 / (1 + std::exp(-value));
    for (std::uint32_t e = 0; e < moe.expert_count; ++e) choice[e] = p[e] + (bias.data ? bias.data[e] : 0);
    if (moe.group_count) keep_best_groups(moe, choice, frame);
    best_of(choice, moe.used_count, frame.order);
    for (std::uint32_t i = 0; i < moe.used_count; ++i) chosen[i] = p[frame.order[i]];
    if (moe.routing == NACELLE_ROUTE_TOP_THEN_SOFTMAX) softmax_in_place(chosen);
    const double sum = std::accumulate(chosen.begin(), chosen.end(), 0.0);
    const double divisor = moe.renormalise && sum > 0 ? sum : 1;
    for (std::uint32_t i = 0; i < moe.used_count; ++i) {
      experts.at(r, i) = frame.order[i];
      weights.at(r, i) = static_cast<float>(chosen[i] / divisor * moe.scale);
    }
  }
}

// Slice i of y[r] = x w[e]^T + bias[e] with e = experts[r][i]. x is the whole row, or its own slice i where each expert
// already works on columns of its own (the down projection).
void moe_matmul(Call& call) {
  const auto moe = call.attributes<nacelle_moe_attributes>();
  const Matrix x = call.in(0), w = call.in(1), y = call.out();
  const Indices experts = call.in_indices(2);
  const Matrix bias = call.has(3) ? call.in(3) : Matrix{};
  const std::uint64_t outputs = w.rows / moe.expert_count;
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    for (std::uint32_t i = 0; i < moe.used_count; ++i) {
      const std::uint64_t expert = checked_expert(experts.at(r, i), moe.expert_count);
      const auto slice = moe.x_per_expert ? x.row(r).subspan(i * w.width, w.width) : x.row(r);
      for (std::uint64_t n = 0; n < outputs; ++n) {
        const std::uint64_t line = expert * outputs + n;
        y.at(r, i * outputs + n) = static_cast<float>(dot(slice, w.row(line)) + (bias.data ? bias.data[line] : 0));
      }
    }
  }
}

// z[r] = sum_i weights[r][i] * slice i of y[r].
void moe_combine(Call& call) {
  const Matrix y = call.in(0), weights = call.in(1), z = call.out();
  for (std::uint64_t r = 0; r < z.rows; ++r)
    for (std::uint64_t n = 0; n < z.width; ++n) {
      double sum = 0;
      for (std::uint64_t i = 0; i < weights.width; ++i)
        sum += static_cast<double>(weights.at(r, i)) * y.at(r, i * z.width + n);
      z.at(r, n) = static_cast<float>(sum);
    }
}

// Slice i of y'[r] = slice i of y[r] + scale (x A[e]^T) B[e]^T with e = experts[r][i] and the adapter in the row's
// slot; x as in moe_matmul. Rows without an adapter pass unchanged.
void moe_adapter_matmul(Call& call) {
  const std::uint32_t target = call.attributes<nacelle_adapter_attributes>().target;
  const Matrix base = call.in(0), x = call.in(1), y = call.out();
  const Indices slots = call.in_indices(2), experts = call.in_indices(3);
  const ReferenceWeights& weights = *call.frame().weights;
  const sdk::AdapterShape shape = sdk::adapter_shape(*weights.graph().values[target]);
  const bool own_slices = x.width != shape.columns;
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    std::ranges::copy(base.row(r), y.row(r).begin());
    const sdk::LowRankPair* pair = weights.adapters().find(target, slots.data[r]);
    for (std::uint64_t i = 0; pair && i < experts.width; ++i) {
      const std::uint32_t expert = checked_expert(experts.at(r, i), static_cast<std::uint32_t>(shape.matrices));
      add_low_rank(*pair, expert, x.row(r).subspan(own_slices ? i * shape.columns : 0, shape.columns),
                   y.row(r).subspan(i * shape.rows, shape.rows), call.frame().keys);
    }
  }
}

}  // namespace nacelle::reference
