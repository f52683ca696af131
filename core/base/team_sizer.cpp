#include "core/base/team_sizer.hpp"

#include <algorithm>

namespace nacelle {
namespace {

using Duration = TeamRun::Duration;

// Shorter runs say nothing: a wake-up is a large part of them.
constexpr Duration kShortest = std::chrono::microseconds(200);
constexpr Duration kLongestPause = std::chrono::seconds(2);
constexpr double kDisturbed = 0.1;  // CPUs lost; interrupts and the like stay below a hundredth
constexpr double kMemory = 1.0 / 8;
// A CPU that is shared gives us time slices of some milliseconds, so single runs of that length vary by a factor of 2.
constexpr unsigned kPairs = 8;
constexpr double kSpeaksAgainst = 1.15;  // time of the candidate over the present: reason enough to stop at once
constexpr double kBetter = 0.97;         // and this to change
// A trial's slow run is to cost a few percent at most, also where runs are long.
constexpr int kRunsBetweenTrials = 32;

}  // namespace

unsigned TeamSizer::next() const noexcept {
  // Pairs in the order ABBA, so that a trend favours neither.
  return trial_ && (trial_->runs + 1) / 2 % 2 == 0 ? trial_->candidate : members_;
}

void TeamSizer::note(const TeamRun& run, Duration now) noexcept {
  if (run.wall < kShortest) return;
  if (trial_) return judge(run, now);
  const double lost = static_cast<double>(run.preempted.count()) / static_cast<double>(run.wall.count());
  lost_ += (lost - lost_) * kMemory;
  if (now < not_before_) return;
  if (lost_ > kDisturbed && members_ > 1) {
    const auto got = static_cast<unsigned>(run.cpu.count() / run.wall.count());
    trial_ = Trial{std::clamp(got, 1u, members_ - 1)};
  } else if (members_ < size_) {
    trial_ = Trial{(members_ + size_ + 1) / 2};
  }
}

void TeamSizer::judge(const TeamRun& run, Duration now) noexcept {
  Trial& trial = *trial_;
  if (trial.units == 0) trial.units = run.units;
  // A prompt's chunk among decode steps, say. Counts overshoot a little, differently for each number of members.
  const std::uint64_t apart = run.units > trial.units ? run.units - trial.units : trial.units - run.units;
  if (apart > trial.units / 4) {
    if (++trial.odd_ones > kPairs) end_trial(false, now, run.wall);
    return;
  }
  (run.members == trial.candidate ? trial.candidates : trial.present) += run.wall;
  if (++trial.runs % 2 != 0) return;
  const double ratio = static_cast<double>(trial.candidates.count()) /
                       static_cast<double>(std::max<std::int64_t>(1, trial.present.count()));
  if (ratio > kSpeaksAgainst)
    end_trial(false, now, run.wall);
  else if (trial.runs == 2 * kPairs)
    end_trial(ratio < kBetter, now, run.wall);
}

void TeamSizer::end_trial(bool won, Duration now, Duration wall) noexcept {
  pause_ = won ? kFirstPause : std::min(pause_ * 2, kLongestPause);
  not_before_ = now + std::max(pause_, wall * kRunsBetweenTrials);
  if (won) {
    members_ = trial_->candidate;
    lost_ = 0;
  }
  trial_.reset();
}

}  // namespace nacelle
