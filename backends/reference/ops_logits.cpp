// From a row of logits to the few candidates that a sampler needs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// log sum_i exp(l_i), shifted by the largest so that nothing overflows; -inf for a row that is all -inf.
float log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  if (std::isinf(largest)) return static_cast<float>(largest);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return static_cast<float>(largest + std::log(sum));
}

// Mask, then adjustments in their order, then the temperature. A NaN counts as -inf: a broken row must neither win nor
// upset the order of the others.
void adjust(const Step& step, std::uint32_t row, std::span<const float> raw, std::span<float> logits) {
  for (std::size_t i = 0; i < raw.size(); ++i) logits[i] = std::isnan(raw[i]) ? kNever : raw[i];
  if (!step.masks.empty()) {
    const auto mask = step.masks.subspan(std::uint64_t{row} * step.mask_words, step.mask_words);
    for (std::size_t i = 0; i < raw.size(); ++i)
      if (!(mask[i / 32] >> (i % 32) & 1)) logits[i] = kNever;
  }
  for (std::uint32_t i = step.adjustment_starts[row]; i < step.adjustment_starts[row + 1]; ++i) {
    const nacelle_adjustment& change = step.adjustments[i];
    float& logit = logits[change.token];
    if (logit == kNever) continue;
    logit = (logit > 0 ? logit / change.repetition : logit * change.repetition) + change.bias;
  }
  const float temperature = step.temperatures[row];
  if (temperature != 0 && temperature != 1)
    for (float& logit : logits) logit /= temperature;
}

}  // namespace

// Writes the output block. The repetition rule is Keskar et al., arXiv 1909.05858, section 4.1. Where the vocabulary
// has fewer entries than candidates are asked for, the rest are NACELLE_NO_VALUE at -inf.
void logits_select(Call& call) {
  const Step& step = call.step();
  const Matrix logits = call.in(0);
  const Selection& to = call.frame().selection;
  std::vector<std::uint32_t>& order = call.frame().order;
  for (std::uint32_t r = 0; r < step.output_row_count; ++r) {
    const auto raw = logits.row(r);
    const auto adjusted = to.adjusted_logits.row(r);
    adjust(step, r, raw, adjusted);
    order.resize(raw.size());
    std::iota(order.begin(), order.end(), 0u);
    const std::size_t count = std::min<std::size_t>(to.candidates, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                      [&](std::uint32_t a, std::uint32_t b) {
                        return adjusted[a] > adjusted[b] || (adjusted[a] == adjusted[b] && a < b);
                      });
    for (std::uint32_t i = 0; i < to.candidates; ++i) {
      to.ids.at(r, i) = i < count ? order[i] : NACELLE_NO_VALUE;
      to.adjusted.at(r, i) = i < count ? adjusted[order[i]] : kNever;
      to.raw.at(r, i) = i < count ? raw[order[i]] : kNever;
    }
    to.logsumexp.at(r, 0) = log_sum_exp(raw);
    to.logsumexp.at(r, 1) = log_sum_exp(adjusted);
  }
}

}  // namespace nacelle::reference
