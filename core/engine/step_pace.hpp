// How many rows of prompts a step may compute beside sequences that decode, so that these do not wait for long: what a
// row costs is measured as the engine runs. The engine's thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace nacelle {

class StepPace {
 public:
  // A step that took so long: rows of prompts in it, and whether sequences decoded in it too.
  void note(std::uint32_t prompt_rows, bool decoded, double seconds) noexcept {
    if (prompt_rows == 0)
      blend(decode_seconds_, seconds);
    else
      blend(row_seconds_, std::max(0.0, seconds - (decoded ? decode_seconds_ : 0)) / prompt_rows);
  }

  // A step with prompts takes at most twice as long as one without, or kPause longer where that is more. Unlimited
  // until a prompt was measured.
  std::uint32_t prompt_rows() const noexcept {
    if (row_seconds_ <= 0) return std::numeric_limits<std::uint32_t>::max();
    const double rows = std::max(kPause, decode_seconds_) / row_seconds_;
    return static_cast<std::uint32_t>(std::clamp(rows, double{kLeastRows}, 1e9));
  }

  static constexpr double kPause = 0.05;           // a reader does not notice
  static constexpr std::uint32_t kLeastRows = 16;  // fewer would read all weights for next to nothing

 private:
  // New figures count a fifth: the machine's pace changes, and single steps are disturbed.
  static void blend(double& mean, double value) noexcept { mean = mean > 0 ? 0.8 * mean + 0.2 * value : value; }

  double decode_seconds_ = 0, row_seconds_ = 0;
};

}  // namespace nacelle
