// How fast requests get through, for telling a refused caller when to come again. The owner locks.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace nacelle {

class ServiceRate {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // The first request after a time without any.
  void begin(Time now) { begin_ = now, ended_ = 0; }
  void note_end(Time now);
  // Until `waiting` requests are through at the pace of the latest ends, in whole seconds from 1 to 600. Before the
  // first end it counts as if the `running` ones ended now.
  std::chrono::seconds wait(std::size_t waiting, std::size_t running, Time now) const;

  // Seconds from one end to the next, the latest counting most; 0 before the first. It fades while there is nothing to
  // do, so that one slow request is not held against an engine for ever.
  double pace(bool idle, Time now) const;

 private:
  double pace_ = 0;
  std::array<Time, 64> ends_{};
  std::size_t ended_ = 0;
  Time begin_{};
};

}  // namespace nacelle
