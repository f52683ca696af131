#include "api/cli/bandwidth.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace nacelle::cli {
namespace {

constexpr std::size_t kBytes = 512u << 20;  // more than the last-level cache of any CPU to be met
constexpr std::size_t kGrain = 1u << 20;    // bytes a claim
constexpr int kPasses = 5;

// Eight sums, so that the loop waits for memory and not for one addition after the other.
std::uint64_t sum(const std::uint64_t* data, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    for (std::size_t k = 0; k < 8; ++k) sums[k] += data[i + k];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t one : sums) total += one;
  return total;
}

}  // namespace

double measure_read_gbps(ThreadTeam& team) {
  constexpr std::size_t kWords = kBytes / sizeof(std::uint64_t), kGrainWords = kGrain / sizeof(std::uint64_t);
  std::vector<std::uint64_t> data(kWords, 1);  // written: untouched pages would all be one page of zeros
  std::atomic<std::uint64_t> total{0};         // used, so that no pass is optimised away
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    team.parallel_for(kWords, kGrainWords,
                      [&](std::uint64_t from, std::uint64_t to) { total += sum(data.data() + from, to - from); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, kBytes / seconds.count() / 1e9);
  }
  return total == 0 ? 0 : best;
}

}  // namespace nacelle::cli
