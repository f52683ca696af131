// How many threads of the team take part in a run. Beside another process that keeps some CPUs busy a smaller team is
// often faster: the others need not wait for a member whose CPU is taken away while it holds a part of the work. On a
// machine of our own the answer is always "all", and nothing is tried.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace nacelle {

// What one run cost.
struct TeamRun {
  using Duration = std::chrono::nanoseconds;
  unsigned members = 1;
  Duration wall{};
  Duration cpu{};           // of all members together
  Duration preempted{};     // of all members together: neither on a CPU nor asleep of their own will
  std::uint64_t units = 0;  // claimed: tells whether two runs did the like
};

// Watches the time that members lose to other processes. Once it is above a tenth, some runs are made with as many
// members as there seem to be CPUs for us, in turns with the present number; the faster one stays. From time to time a
// larger number is tried in the same way. A trial ends at the first pair that speaks against the newcomer, so it costs
// one slow run, and trials that fail become rarer, up to one in two seconds. Not thread-safe.
class TeamSizer {
 public:
  using Duration = TeamRun::Duration;

  explicit TeamSizer(unsigned size) noexcept : size_(size), members_(size) {}

  // Members of the next run.
  unsigned next() const noexcept;
  // After each run that next() was asked for; `now` counts from any fixed point.
  void note(const TeamRun& run, Duration now) noexcept;

 private:
  // Runs in turns with `members_` and with `candidate`.
  struct Trial {
    unsigned candidate;
    unsigned runs = 0, odd_ones = 0;
    Duration present{}, candidates{};
    std::uint64_t units = 0;
  };

  void judge(const TeamRun& run, Duration now) noexcept;
  void end_trial(bool won, Duration now, Duration wall) noexcept;

  unsigned size_, members_;
  std::optional<Trial> trial_;
  double lost_ = 0;  // CPUs that we asked for and did not get, mean of the latest runs
  Duration not_before_{}, pause_ = kFirstPause;

  static constexpr Duration kFirstPause = std::chrono::milliseconds(100);
};

}  // namespace nacelle
