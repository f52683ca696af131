// How far long work has come: a bar on a terminal, a line now and then elsewhere. On standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace nacelle::cli {

class Progress {
 public:
  explicit Progress(std::string label);
  // Wipes the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Takes the bar away; the next update() shows it again.
  void wipe();
  // Cheap enough to call often: shows at most ten times a second (a line every five).
  void update(std::uint64_t done, std::uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;

  const std::string label_;
  const bool terminal_;
  Clock::time_point next_;
  bool shown_ = false;
};

}  // namespace nacelle::cli
