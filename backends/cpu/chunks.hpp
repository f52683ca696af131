// How a step's units are handed out to threads: in chunks, one a claim. Threads that take turns each walk a stretch of
// their own, front to back: what a kernel fetches ahead is then what its thread works on next.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nacelle::cpu {

// How much a step has to do: threads claim `grain` of `units` at a time, or, `shrinking`, half of their share and then
// three quarters of what is left. 0 units: the step is skipped. A `small` step costs less than a barrier: whoever ends
// the step before it last does it alone.
struct Work {
  std::uint64_t units, grain;
  bool small = false, shrinking = false;
};

class Chunks {
 public:
  struct Range {
    std::uint64_t begin, end;  // units; may be empty
  };

  // `threads`: of the plan, whatever the number that takes part, so that all runs of a step have equal chunks.
  Chunks(const Work& work, std::uint64_t threads) : work_(work), stretches_(threads) {
    if (work.shrinking) {
      grain_ = 1;
      for (std::uint64_t turn = 0, left = longest(); left != 0; left = rest(left, turn++)) total_ += stretches_;
    } else {
      grain_ = work.grain;
      total_ = work.units;
    }
  }

  // What a claim takes, and what there is to claim.
  std::uint64_t grain() const { return grain_; }
  std::uint64_t total() const { return total_; }

  // What the claim that came to `claimed` is.
  Range operator[](std::uint64_t claimed) const {
    return work_.shrinking ? shrunk(claimed % stretches_, claimed / stretches_) : even(claimed / work_.grain);
  }

 private:
  std::uint64_t longest() const { return (work_.units + stretches_ - 1) / stretches_; }

  Range even(std::uint64_t n) const {
    const std::uint64_t chunks = (work_.units + work_.grain - 1) / work_.grain;
    const std::uint64_t stretch = n % stretches_;
    const std::uint64_t begin =
        (stretch * (chunks / stretches_) + std::min(stretch, chunks % stretches_) + n / stretches_) * work_.grain;
    return {begin, std::min(begin + work_.grain, work_.units)};
  }

  // What the claim number `turn` of a stretch leaves of `units`. A claim costs time in which nothing is fetched, so
  // there are few of them; yet the first is no more than what a thread of half the others' speed does while they do all
  // else, and the last is one unit, so that all end within a unit of each other.
  static std::uint64_t rest(std::uint64_t units, std::uint64_t turn) {
    return turn == 0 ? units / 2 : units > 1 ? (units + 3) / 4 : 0;
  }

  Range shrunk(std::uint64_t stretch, std::uint64_t turn) const {
    const std::uint64_t end = work_.units * (stretch + 1) / stretches_;
    std::uint64_t left = end - work_.units * stretch / stretches_;
    for (std::uint64_t before = 0; before != turn; ++before) left = rest(left, before);
    return {end - left, end - rest(left, turn)};
  }

  Work work_;
  std::uint64_t stretches_, grain_ = 1, total_ = 0;
};

}  // namespace nacelle::cpu
