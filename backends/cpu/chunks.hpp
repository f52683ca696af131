// How a step's units are handed out to threads: in chunks, one a claim. Threads that take turns each walk a stretch of
// their own, front to back: what a kernel fetches ahead is then what its thread works on next.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nacelle::cpu {

// How much a step has to do: threads claim `grain` of `units` at a time, or, `halving`, half of their share, then half
// of the rest. 0 units: the step is skipped. A `small` step costs less than a barrier: whoever ends the
// step before it last does it alone.
struct Work {
  std::uint64_t units, grain;
  bool small = false, halving = false;
};

class Chunks {
 public:
  struct Range {
    std::uint64_t begin, end;  // units; may be empty
  };

  // `threads`: of the plan, whatever the number that takes part, so that all runs of a step have equal chunks.
  Chunks(const Work& work, std::uint64_t threads) : work_(work), stretches_(threads) {
    if (work.halving) {
      grain_ = 1;
      for (std::uint64_t left = longest(); left != 0; left /= 2) total_ += stretches_;
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
    return work_.halving ? halved(claimed % stretches_, claimed / stretches_) : even(claimed / work_.grain);
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

  // The first half of a stretch, then half of what is left, and so on to the last unit: a claim costs time in which
  // nothing is fetched, so there are few of them, and yet all threads end within a unit of each other.
  Range halved(std::uint64_t stretch, std::uint64_t turn) const {
    const std::uint64_t end = work_.units * (stretch + 1) / stretches_;
    std::uint64_t begin = work_.units * stretch / stretches_;
    for (; turn != 0; --turn) begin += (end - begin + 1) / 2;
    return {begin, begin + (end - begin + 1) / 2};
  }

  Work work_;
  std::uint64_t stretches_, grain_ = 1, total_ = 0;
};

}  // namespace nacelle::cpu
