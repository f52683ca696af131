// The process of an isolated plugin, as the host sees it: started, watched, called, and ended when it hangs. Once it is
// dead it stays so: a new one takes its place (IsolatedBackend).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/plugin_host/isolation/arena.hpp"
#include "core/plugin_host/isolation/channel.hpp"
#include "core/plugin_host/isolation/child.hpp"
#include "core/plugin_host/isolation/wire.hpp"

namespace nacelle::isolation {

struct ProcessOptions {
  std::string plugin;             // its name, for the log
  std::filesystem::path program;  // runs serve_plugin() when it is given the one argument kChildArgument
  // A step that takes longer has hung, and the process is killed; loading and measuring may take ten times that without
  // a sign of life.
  std::chrono::seconds limit{120};
};

// The files that the child is given.
inline constexpr int kArenaFd = 3, kControlFd = 4;

class Process {
 public:
  // Starts it. `losses` counts its end unless that was asked for, and must outlive it. Throws Error(kResource).
  Process(ProcessOptions options, std::atomic<std::uint64_t>& losses);
  // Asks it to end, waits a while, and kills it.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // [any thread]
  bool dead() const noexcept { return dead_.load(std::memory_order_acquire); }
  pid_t pid() const noexcept { return pid_; }
  // Of a dead one: how long it lived.
  std::chrono::steady_clock::duration lifetime() const noexcept { return ended_at_.load() - started_; }
  Arena& arena() noexcept { return arena_; }

 private:
  friend class Call;
  Channel take_channel();  // a dead one where the process is dead
  void give_channel(Channel channel) noexcept;
  void hung(const char* what) noexcept;
  void watch(pid_t pid);

  const ProcessOptions options_;
  std::atomic<std::uint64_t>& losses_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::atomic<std::chrono::steady_clock::time_point> ended_at_ = started_;
  Arena arena_;
  Descriptor control_;
  std::atomic<bool> dead_ = false, stopping_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<Channel> channels_, free_;  // under mutex_
  std::atomic<pid_t> pid_ = 0;
  std::thread watcher_;
};

// Answers what the plugin's process asks while it works on a call.
class Answers {
 public:
  virtual ~Answers() = default;
  // Reads all of the question before it writes: both lie in the same place. May throw sdk::Failure.
  virtual nacelle_status answer(Function question, Reader& in, Writer& out) = 0;
};

// One call: put arguments into out(), send(), get results from in() where that was NACELLE_OK.
class Call {
 public:
  Call(Process& process, Function function);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Writer& out() noexcept { return out_; }
  Reader& in() noexcept { return in_; }
  // NACELLE_DEVICE_LOST where the process is dead, or dies. `error` gets the plugin's message, where there is one.
  nacelle_status send(const nacelle_host* host = nullptr, nacelle_error** error = nullptr, Answers* answers = nullptr);

 private:
  void answer(Answers* answers);
  std::chrono::nanoseconds limit() const noexcept;

  Process& process_;
  const Function function_;
  Channel channel_;
  Writer out_;
  Reader in_;
};

}  // namespace nacelle::isolation
