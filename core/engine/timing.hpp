// What the engine measures of requests and steps: one clock reading a phase of a step, however many rows it has.
#pragma once

#include <chrono>

#include "core/engine/histogram.hpp"
#include "core/engine/request.hpp"

namespace nacelle {

using EngineClock = std::chrono::steady_clock;

inline double seconds_between(EngineClock::time_point begin, EngineClock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

struct RequestTimes : UsageTimes {
  EngineClock::time_point submitted = EngineClock::now();
};

// vLLM's bounds where it has the same histogram, so that dashboards compare.
inline constexpr double kFirstTokenBounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25, 0.5,
                                               0.75,  1.0,   2.5,  5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0};
inline constexpr double kInterTokenBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15,
                                               0.2,   0.3,    0.4,   0.5,  0.75,  1.0,  2.5,   5.0, 10.0};
inline constexpr double kRequestBounds[] = {0.005, 0.01, 0.05, 0.1,  0.3,  0.5,  0.8,   1.0,   1.5,   2.0,  2.5,
                                            5.0,   10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0};
inline constexpr double kStepRowBounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

// Written by the engine's thread.
struct EngineTiming {
  Histogram first_token{kFirstTokenBounds};  // seconds from submit() to the first token
  Histogram inter_token{kInterTokenBounds};  // seconds between two tokens of a request
  Histogram queue{kFirstTokenBounds};        // seconds from submit() to the first step with a row of the request
  Histogram request{kRequestBounds};         // seconds from submit() to the last token
  Histogram step_rows{kStepRowBounds};       // tokens computed in a step

  void token(RequestTimes& times, EngineClock::time_point now) noexcept {
    const bool first = times.last_token == EngineClock::time_point{};
    (first ? first_token : inter_token).add(seconds_between(first ? times.submitted : times.last_token, now));
    if (first) times.first_token = now;
    times.last_token = now;
  }
};

}  // namespace nacelle
