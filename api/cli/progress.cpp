#include "api/cli/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace nacelle::cli {
namespace {

using namespace std::chrono_literals;

constexpr int kWidth = 30;

}  // namespace

// Nothing is shown for what takes no time: the first line would be noise.
Progress::Progress(std::string label)
    : label_(std::move(label)), terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now() + (terminal_ ? 200ms : 2s)) {}

Progress::~Progress() { wipe(); }

void Progress::wipe() {
  if (shown_ && terminal_) std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  if (now < next_ || total == 0) return;
  next_ = now + (terminal_ ? 100ms : 5s);
  shown_ = true;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int filled = static_cast<int>(part * kWidth);
  if (terminal_) {
    std::fprintf(stderr, "\r%s [%.*s%*s] %3.0f %%", label_.c_str(), filled, "##############################",
                 kWidth - filled, "", part * 100);
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s: %.0f %%\n", label_.c_str(), part * 100);
  }
}

}  // namespace nacelle::cli
