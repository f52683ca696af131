// A row of logits for tests that run no model.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "core/engine/sampler.hpp"

namespace nacelle::test {

// A row of logits that hands out its `k` best, as a device does, and counts how often it is read whole.
class FakeRow : public LogitsRow {
 public:
  FakeRow(std::vector<float> raw_row, std::size_t k, std::vector<nacelle_adjustment> changes = {},
          float temperature = 1)
      : whole_raw_(raw_row), whole_adjusted_(std::move(raw_row)) {
    apply_adjustments(whole_adjusted_, changes, temperature);
    ids_.resize(whole_raw_.size());
    std::iota(ids_.begin(), ids_.end(), 0u);
    std::stable_sort(ids_.begin(), ids_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return whole_adjusted_[a] > whole_adjusted_[b]; });
    ids_.resize(std::min(k, ids_.size()));
    for (const std::uint32_t id : ids_) {
      adjusted_.push_back(whole_adjusted_[id]);
      raw_.push_back(whole_raw_[id]);
    }
  }
  static float logsumexp(const std::vector<float>& row) {
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    return static_cast<float>(std::log(sum));
  }
  std::span<const std::uint32_t> ids() const override { return ids_; }
  std::span<const float> adjusted() const override { return adjusted_; }
  std::span<const float> raw() const override { return raw_; }
  float logsumexp_adjusted() const override { return logsumexp(whole_adjusted_); }
  float logsumexp_raw() const override { return logsumexp(whole_raw_); }
  std::span<const float> whole_adjusted() override { return ++whole_reads, whole_adjusted_; }
  std::span<const float> whole_raw() override { return ++whole_reads, whole_raw_; }
  int whole_reads = 0;

 private:
  std::vector<float> whole_raw_, whole_adjusted_, adjusted_, raw_;
  std::vector<std::uint32_t> ids_;
};

}  // namespace nacelle::test
