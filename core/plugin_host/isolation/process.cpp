// posix_spawn, waitpid, and the host's half of a call.
#include "core/plugin_host/isolation/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"

namespace nacelle::isolation {
namespace {

constexpr std::chrono::seconds kFarewell{5};  // for a plugin's shutdown
constexpr int kColdFactor = 10;
constexpr std::uint64_t kLargeMessage = 4u << 20;
// Above the numbers that the child is to find them under.
constexpr int kFirstFreeFd = 10;

[[noreturn]] void fail(const std::string& plugin, int error) {
  throw Error(ErrorKind::kResource,
              "plugin " + plugin + ": its own process cannot be started: " + std::strerror(error));
}

Descriptor raise(int fd) { return Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFreeFd)); }

// 0 where it fails; errno says why.
pid_t spawn(const std::filesystem::path& program, int arena, int control) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, arena, kArenaFd);
  ::posix_spawn_file_actions_adddup2(&actions, control, kControlFd);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = "nacelle", argument = kChildArgument;
  char* arguments[] = {name.data(), argument.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  errno = error;
  return error == 0 ? pid : 0;
}

std::string describe(int status) {
  if (WIFEXITED(status)) return "ended with code " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  std::string text = "was ended by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
  if (signal == SIGKILL) text += ", by the kernel for want of memory or by somebody's hand";
  return text;
}

}  // namespace

// The thread that starts the process watches it for as long as it lives: the kernel kills a child with
// PR_SET_PDEATHSIG when the thread that made it ends.
Process::Process(ProcessOptions options, std::atomic<std::uint64_t>& losses)
    : options_(std::move(options)), losses_(losses) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail(options_.plugin, errno);
  control_ = Descriptor(ends[0]);
  const Descriptor other(ends[1]), control = raise(other.get()), arena = raise(arena_.memory().fd());
  const auto started = std::make_shared<std::promise<int>>();
  watcher_ = std::thread([this, started, arena_fd = arena.get(), control_fd = control.get()] {
    const pid_t pid = spawn(options_.program, arena_fd, control_fd);
    pid_ = pid;
    started->set_value(pid > 0 ? 0 : errno);
    if (pid > 0) watch(pid);
  });
  if (const int error = started->get_future().get(); error != 0) {
    watcher_.join();
    fail(options_.plugin, error);
  }
}

Process::~Process() {
  stopping_ = true;
  ::shutdown(control_.get(), SHUT_RDWR);
  {
    std::unique_lock lock(mutex_);
    if (!ended_.wait_for(lock, kFarewell, [this] { return dead(); })) ::kill(pid_, SIGKILL);
  }
  watcher_.join();
}

void Process::watch(pid_t pid) {
  int status = 0;
  siginfo_t info{};
  // First without taking it away: until dead_ is set, pid_ names nobody else.
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  const bool asked_for = stopping_;
  ended_at_ = std::chrono::steady_clock::now();
  if (!asked_for) ++losses_;  // before anybody can start another and note how many there were
  {
    const std::lock_guard lock(mutex_);
    dead_.store(true, std::memory_order_release);
    for (const Channel channel : channels_) channel.kill();
  }
  ended_.notify_all();
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (asked_for) return;
  log::event(log::Level::kError, "an isolated plugin's process has died",
             {{"plugin", options_.plugin}, {"pid", pid}, {"how", describe(status)}});
}

Channel Process::take_channel() {
  const std::lock_guard lock(mutex_);
  if (!free_.empty()) {
    const Channel channel = free_.back();
    free_.pop_back();
    return channel;
  }
  if (dead()) throw sdk::Failure(NACELLE_DEVICE_LOST, "plugin " + options_.plugin + ": its process has died");
  const std::uint64_t offset = arena_.take(kChannelSize);
  channels_.emplace_back(arena_.at(offset));
  free_.reserve(channels_.size());
  // What the child does not read it has died of, and the watcher will say so.
  if (::send(control_.get(), &offset, sizeof offset, MSG_NOSIGNAL) < 0)
    log::debug("plugin {}: {}", options_.plugin, std::strerror(errno));
  return channels_.back();
}

void Process::give_channel(Channel channel) noexcept {
  const std::lock_guard lock(mutex_);
  free_.push_back(channel);  // take_channel() made room
}

void Process::hung(const char* what) noexcept {
  const std::lock_guard lock(mutex_);
  if (dead()) return;
  log::error("plugin {}: its process {} has given no sign for too long while it {}: it is killed", options_.plugin,
             pid_.load(), what);
  ::kill(pid_, SIGKILL);
}

Call::Call(Process& process, Function function)
    : process_(process), function_(function), channel_(process.take_channel()), out_(channel_.room()) {}

Call::~Call() {
  // A graph, an adapter: the next message may be a step's, and memory is dear.
  if (std::max(out_.size(), channel_.control().size) > kLargeMessage)
    process_.arena_.memory().drop(static_cast<std::uint64_t>(channel_.room().data() - process_.arena_.at(0)),
                                  channel_.room().size());
  std::uint32_t returned = kReturned;
  channel_.control().state.compare_exchange_strong(returned, kIdle, std::memory_order_acq_rel);
  process_.give_channel(channel_);
}

std::chrono::nanoseconds Call::limit() const noexcept {
  switch (function_) {
    case Function::kCopyBlocks:
    case Function::kRun:
    case Function::kReadLogits:
    case Function::kReadValue:
    case Function::kWriteValue:
    case Function::kPlanStatistics: return process_.options_.limit;
    default: return process_.options_.limit * kColdFactor;
  }
}

nacelle_status Call::send(const nacelle_host* host, nacelle_error** error, Answers* answers) {
  Control& control = channel_.control();
  control.function = static_cast<std::uint32_t>(function_);
  control.size = out_.size();
  if (channel_.move(kIdle, kCalled)) {
    for (State state = channel_.state(); state != kReturned && state != kDead; state = channel_.state()) {
      if (state == kAsked)
        answer(answers);
      else if (!channel_.wait_while(state, limit()))
        process_.hung(function_ == Function::kRun ? "ran a step" : "worked on a call");
    }
  }
  if (channel_.state() == kDead)
    return sdk::fail(host, host ? error : nullptr, NACELLE_DEVICE_LOST,
                     process_.options_.plugin + ": the process of this isolated plugin has died");
  in_ = Reader(channel_.message());
  const nacelle_status status = control.status;
  if (status != NACELLE_OK && host && error) {
    const std::string_view text = control.size ? in_.get_text() : std::string_view();
    if (!text.empty()) sdk::fail(host, error, status, text);
  }
  return status;
}

void Call::answer(Answers* answers) {
  Control& control = channel_.control();
  Reader in(channel_.message());
  Writer out(channel_.room());
  nacelle_status status = NACELLE_INTERNAL;
  std::string text;
  try {
    if (answers) status = answers->answer(static_cast<Function>(control.function), in, out);
  } catch (const sdk::Failure& failure) {
    status = failure.status();
    text = failure.what();
  } catch (const std::exception& error) {  // whatever it is: the other side waits for an answer
    text = error.what();
  }
  if (status != NACELLE_OK) {
    out = Writer(channel_.room());
    out.put_text(text.substr(0, 4096));
  }
  control.status = status;
  control.size = out.size();
  channel_.move(kAsked, kAnswered);
}

}  // namespace nacelle::isolation
