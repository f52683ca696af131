// A backend whose plugin runs in a process of its own: the function table that the rest of the host sees, and the
// process behind it. When that dies, all that was made in it answers NACELLE_DEVICE_LOST, and the next device_open (or
// question about devices) starts another.
#pragma once

#include <nacelle/backend.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "core/plugin_host/isolation/process.hpp"
#include "core/plugin_host/isolation/setup_wire.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::isolation {

class IsolatedBackend {
 public:
  static constexpr std::size_t kMost = 8;  // of one host

  // Starts the process and loads the plugin there. Freed by what shutdown() returns; not from several threads at once.
  // Throws Error: kResource where the process cannot be started, kInvalidArgument past kMost.
  static IsolatedBackend& create(const nacelle_host& host, ProcessOptions options, LoadMessage message);

  // What loading came to in the process: as PluginRecord has it.
  PluginStatus status() const noexcept { return status_; }
  const std::string& reason() const noexcept { return reason_; }
  const nacelle_backend_api* table() const noexcept;
  void (*shutdown() const noexcept)();
  // How often the process has died.
  const std::atomic<std::uint64_t>& losses() const noexcept { return losses_; }

  // The living process. Throws sdk::Failure(UNAVAILABLE) where it dies again and again and is not to be started yet.
  std::shared_ptr<Process> process();
  const nacelle_host& host() const noexcept { return host_; }
  // A text that stays: what device_info answers is kept while the plugin is loaded.
  nacelle_string keep(std::string_view text);

  IsolatedBackend(const IsolatedBackend&) = delete;
  IsolatedBackend& operator=(const IsolatedBackend&) = delete;
  ~IsolatedBackend();

 private:
  using Clock = std::chrono::steady_clock;
  IsolatedBackend(const nacelle_host& host, ProcessOptions options, LoadMessage message, std::size_t index);
  void start();

  const nacelle_host& host_;
  const ProcessOptions options_;
  const LoadMessage message_;
  const std::size_t index_;
  std::atomic<std::uint64_t> losses_ = 0;
  PluginStatus status_ = PluginStatus::kRefused;
  std::string reason_;
  std::mutex mutex_;
  std::shared_ptr<Process> process_;
  std::uint64_t losses_before_ = 0;  // it was started
  Clock::time_point started_;
  std::chrono::seconds delay_{0};  // from the start of the last process to that of the next
  std::deque<std::string> texts_;
};

}  // namespace nacelle::isolation
