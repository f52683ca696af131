// A stretch of one thread's work at whose end others are told of it, once. On a machine whose cores are all busy a
// thread that is woken runs in place of the one that woke it: whoever hands out many things wakes others when it is
// done.
#pragma once

#include <functional>
#include <vector>

namespace nacelle {

class Turn {
 public:
  Turn() noexcept;
  ~Turn();  // runs what was put off, in order
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Runs `task`, which must not throw, when this thread's outermost turn ends: at once where there is none.
  static void at_end(std::function<void()> task);
  static bool under_way() noexcept;  // on this thread

 private:
  Turn* const outer_;
  std::vector<std::function<void()>> tasks_;
};

}  // namespace nacelle
