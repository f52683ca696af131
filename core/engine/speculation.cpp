#include "core/engine/speculation.hpp"

#include <algorithm>
#include <cmath>

namespace nacelle {
namespace {

constexpr double kMemory = 0.95;     // what a later note leaves of an earlier one
constexpr double kAgeing = 0.97;     // of what is known, a token
constexpr double kLeastGain = 1.05;  // less than this is noise, and work for nothing where it is wrong
// A row more in a step, before any was measured: cheap enough to be tried once.
constexpr double kAssumedRow = 0.1;
// Notes after which a measurement is forgotten: a moment's noise must not decide for ever.
constexpr std::uint64_t kFresh = 4096;

constexpr std::uint32_t kCounts[] = {1, 2, 3, 4, 6, 8, 12, 16};

}  // namespace

void Acceptance::note(std::uint32_t guessed, std::uint32_t accepted) {
  // Tokens behind the first wrong one were not put to the test.
  tried_ = tried_ * kMemory + std::min(guessed, accepted + 1);
  accepted_ = accepted_ * kMemory + accepted;
}

void Acceptance::age() { tried_ *= kAgeing, accepted_ *= kAgeing; }

double Acceptance::expected(std::uint32_t count) const {
  double sum = 0, all_right = 1;
  for (std::uint32_t i = 0; i < count; ++i) sum += all_right *= rate();
  return sum;
}

void StepCosts::note(std::uint32_t rows, double seconds) {
  if (rows == 0 || rows > kMostRows) return;
  Cost& cost = costs_[rows];
  cost.seconds = is_known(rows) ? cost.seconds * 0.8 + seconds * 0.2 : seconds;
  cost.noted = ++notes_;
}

bool StepCosts::is_known(std::uint32_t rows) const noexcept {
  return costs_[rows].noted != 0 && notes_ - costs_[rows].noted < kFresh;
}

double StepCosts::estimate(std::uint32_t rows) const {
  rows = std::clamp(rows, 1u, kMostRows);
  std::uint32_t below = rows, above = rows;
  while (below > 0 && !is_known(below)) --below;
  while (above <= kMostRows && !is_known(above)) ++above;
  if (below == rows) return costs_[rows].seconds;
  if (below == 0) return above <= kMostRows ? costs_[above].seconds * rows / above : 0;
  const double low = costs_[below].seconds;
  if (above > kMostRows) return low * (1 + kAssumedRow * (rows - below) / below);
  return low + (costs_[above].seconds - low) * (rows - below) / (above - below);
}

std::uint32_t best_guess_count(std::span<const Guessable> sequences, std::uint32_t decoding,
                               const SpeculationCosts& costs) {
  const auto seconds = [&](std::uint32_t rows) {
    return costs.other_rows ? static_cast<double>(rows + costs.other_rows) : costs.steps->estimate(rows);
  };
  const double alone = seconds(decoding);
  if (alone == 0 || sequences.empty()) return 0;
  if (costs.other_rows && costs.guess_seconds > 0) return 0;  // a prompt must not wait for a draft model
  std::uint32_t best = 0;
  double best_rate = decoding / alone * kLeastGain;
  for (const std::uint32_t count : kCounts) {
    double tokens = decoding, again = 0;
    std::uint32_t guesses = 0, longest = 0;
    for (const Guessable& one : sequences) {
      const std::uint32_t own = std::min(count, one.most);
      tokens += one.acceptance->expected(own);
      again += 1 - std::pow(one.acceptance->rate(), own);
      guesses += own;
      longest = std::max(longest, own);
    }
    if (guesses > costs.most_guesses || longest < count) break;
    double spent = seconds(decoding + guesses) + longest * costs.guess_seconds;
    if (costs.keep_seconds) {  // a second step, without guesses, for those that were wrong
      again /= static_cast<double>(sequences.size());
      tokens += again * decoding;
      spent += again * seconds(decoding + guesses) + *costs.keep_seconds * static_cast<double>(sequences.size());
    }
    const double rate = tokens / spent;
    if (rate > best_rate) best = count, best_rate = rate;
  }
  return best;
}

}  // namespace nacelle
