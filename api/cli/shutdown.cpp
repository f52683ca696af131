#include "api/cli/shutdown.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <future>
#include <thread>

namespace nacelle::cli {

struct ShutdownSignal::State {
  sigset_t signals{};
  std::atomic<bool> armed{false};
  std::promise<int> first;
};

ShutdownSignal::ShutdownSignal() : state_(std::make_shared<State>()) {
  sigemptyset(&state_->signals);
  sigaddset(&state_->signals, SIGTERM);
  sigaddset(&state_->signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &state_->signals, nullptr);
  std::thread([state = state_] {
    int signal = 0;
    sigwait(&state->signals, &signal);
    if (!state->armed) std::_Exit(128 + signal);
    state->first.set_value(signal);
    sigwait(&state->signals, &signal);
    std::_Exit(128 + signal);
  }).detach();
}

void ShutdownSignal::arm() { state_->armed = true; }

int ShutdownSignal::wait() { return state_->first.get_future().get(); }

}  // namespace nacelle::cli
