// Counts of durations and sizes in fixed buckets: cheap enough for the engine's thread to write in every step.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace nacelle {

// Counts by bucket: [i] of values <= bounds[i] and above the bound before; [bounds.size()] of larger ones.
struct HistogramSnapshot {
  static constexpr std::size_t kMaxBounds = 24;
  std::span<const double> bounds;
  std::array<std::uint64_t, kMaxBounds + 1> counts{};
  double sum = 0;
  std::uint64_t count() const noexcept {
    std::uint64_t total = 0;
    for (const std::uint64_t part : counts) total += part;
    return total;
  }
};

// One thread writes, any thread reads. No lock and no read-modify-write: a snapshot taken during add() may lack its
// sum.
class Histogram {
 public:
  // `bounds` grow, outlive the object and are at most HistogramSnapshot::kMaxBounds.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds) {}

  void add(double value) noexcept {
    std::size_t bucket = 0;
    while (bucket < bounds_.size() && value > bounds_[bucket]) ++bucket;
    counts_[bucket].store(counts_[bucket].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    sum_.store(sum_.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }

  HistogramSnapshot snapshot() const noexcept {
    HistogramSnapshot result;
    result.bounds = bounds_;
    for (std::size_t i = 0; i < counts_.size(); ++i) result.counts[i] = counts_[i].load(std::memory_order_relaxed);
    result.sum = sum_.load(std::memory_order_relaxed);
    return result;
  }

 private:
  std::span<const double> bounds_;
  std::array<std::atomic<std::uint64_t>, HistogramSnapshot::kMaxBounds + 1> counts_{};
  std::atomic<double> sum_{0};
};

}  // namespace nacelle
