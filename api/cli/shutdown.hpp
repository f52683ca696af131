// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once.
#pragma once

#include <memory>

namespace nacelle::cli {

class ShutdownSignal {
 public:
  // Blocks both signals in this thread and in all that it starts from now on: construct it before any other.
  ShutdownSignal();

  // Until this is called a signal ends the process at once: there is nothing to drain yet.
  void arm();
  // Blocks until the first signal and returns its number.
  int wait();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread, which may outlive this
};

}  // namespace nacelle::cli
