#include "core/compress/scores.hpp"

#include <algorithm>
#include <cmath>

namespace nacelle {
namespace {

// ln of the sum of e^x, and the first of the largest.
struct Softmax {
  double logsumexp = 0;
  std::size_t best = 0;
};

double sum_exp(std::span<const float> logits, double largest) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - largest);
  return sum;
}

Softmax softmax_of(std::span<const float> logits) {
  Softmax result;
  result.best = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const double largest = logits[result.best];
  result.logsumexp = largest + std::log(sum_exp(logits, largest));
  return result;
}

}  // namespace

Estimate Moments::mean() const noexcept {
  if (count_ == 0) return {};
  const auto n = static_cast<double>(count_);
  const double mean = sum_ / n, variance = squares_ / n - mean * mean;
  return {mean, count_ > 1 && variance > 0 ? std::sqrt(variance / (n - 1)) : 0};
}

Estimate Moments::exp_mean() const noexcept {
  const Estimate log = mean();
  return {std::exp(log.value), std::exp(log.value) * log.error};
}

bool Scores::add(std::span<const float> logits, std::uint32_t next) {
  const Softmax own = softmax_of(logits);
  if (!std::isfinite(own.logsumexp)) return false;
  loss_.add(own.logsumexp - logits[next]);
  return true;
}

bool Scores::add(std::span<const float> logits, std::span<const float> base, std::uint32_t next) {
  const Softmax own = softmax_of(logits), other = softmax_of(base);
  if (!std::isfinite(own.logsumexp) || !std::isfinite(other.logsumexp)) return false;
  const double loss = own.logsumexp - logits[next], base_loss = other.logsumexp - base[next];
  // sum of p (ln p - ln q), with p the base's: of equal rows exactly 0.
  double weighted = 0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    const double share = std::exp(base[i] - other.logsumexp);
    if (share > 0) weighted += share * (static_cast<double>(base[i]) - logits[i]);
  }
  const double divergence = std::max(0.0, weighted - other.logsumexp + own.logsumexp);
  loss_.add(loss);
  base_loss_.add(base_loss);
  difference_.add(loss - base_loss);
  divergence_.add(divergence);
  divergences_.push_back(static_cast<float>(divergence));
  agreement_.add(own.best == other.best ? 1 : 0);
  return true;
}

double Scores::divergence_quantile(double share) const {
  if (divergences_.empty()) return 0;
  std::vector<float> sorted = divergences_;
  std::sort(sorted.begin(), sorted.end());
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace nacelle
