#include "api/cli/shutdown.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <future>
#include <mutex>
#include <thread>

namespace nacelle::cli {

struct ShutdownSignal::State {
  sigset_t signals{};
  std::atomic<bool> armed{false};
  std::promise<int> first;
  std::mutex mutex;
  std::function<void()> reload;  // under mutex

  // The next signal that is not for reload().
  int wait() {
    for (int signal = 0;;) {
      sigwait(&signals, &signal);
      std::lock_guard lock(mutex);
      if (signal != SIGHUP || !reload) return signal;
      reload();
    }
  }
};

ShutdownSignal::ShutdownSignal() : state_(std::make_shared<State>()) {
  sigemptyset(&state_->signals);
  sigaddset(&state_->signals, SIGTERM);
  sigaddset(&state_->signals, SIGINT);
  sigaddset(&state_->signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &state_->signals, nullptr);
  std::thread([state = state_] {
    const int signal = state->wait();
    if (!state->armed) std::_Exit(128 + signal);
    state->first.set_value(signal);
    std::_Exit(128 + state->wait());
  }).detach();
}

void ShutdownSignal::arm() { state_->armed = true; }

void ShutdownSignal::on_hangup(std::function<void()> reload) {
  std::lock_guard lock(state_->mutex);
  state_->reload = std::move(reload);
}

int ShutdownSignal::wait() { return state_->first.get_future().get(); }

}  // namespace nacelle::cli
