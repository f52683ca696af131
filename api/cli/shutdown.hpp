// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once. SIGHUP reads files again, where
// there are such, and else counts as the others.
#pragma once

#include <functional>
#include <memory>

namespace nacelle::cli {

class ShutdownSignal {
 public:
  // Blocks all three signals in this thread and in all that it starts from now on: construct it before any other.
  ShutdownSignal();

  // Until this is called a signal ends the process at once: there is nothing to drain yet.
  void arm();
  // From now on SIGHUP calls this, on a thread of this object's own. Empty: SIGHUP ends the process, as the others do.
  void on_hangup(std::function<void()> reload);
  // Blocks until the first signal and returns its number.
  int wait();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread, which may outlive this
};

}  // namespace nacelle::cli
