// What the calling thread has spent on a CPU so far, by the kernel's account.
#pragma once

#include <time.h>

#include <chrono>

namespace nacelle {

inline std::chrono::nanoseconds thread_cpu() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace nacelle
