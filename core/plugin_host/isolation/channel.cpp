// futex(2) on a word that two processes share.
#include "core/plugin_host/isolation/channel.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

namespace nacelle::isolation {
namespace {

void wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

std::span<const std::byte> Channel::message() const noexcept {
  return {place_ + kMessageOffset, std::min(control().size, kChannelSize - kMessageOffset)};
}

bool Channel::move(State from, State to) const noexcept {
  std::uint32_t expected = from;
  if (!control().state.compare_exchange_strong(expected, to, std::memory_order_acq_rel)) return false;
  wake(control().state);
  return true;
}

void Channel::kill() const noexcept {
  control().state.store(kDead, std::memory_order_release);
  wake(control().state);
}

bool Channel::wait_while(State state, std::chrono::nanoseconds limit) const noexcept {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + limit;
  auto& word = control().state;
  while (word.load(std::memory_order_acquire) == state) {
    timespec left{};
    if (limit.count() > 0) {
      const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count();
      if (rest <= 0) return false;
      left = {static_cast<time_t>(rest / 1'000'000'000), static_cast<long>(rest % 1'000'000'000)};
    }
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, static_cast<std::uint32_t>(state),
              limit.count() > 0 ? &left : nullptr, nullptr, 0);
  }
  return true;
}

}  // namespace nacelle::isolation
