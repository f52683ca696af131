// Waiting is the whole art here. Every wait first spins with the CPU's pause hint, because the other side is usually
// less than a microsecond away and a trip through the kernel costs ten times that; then it sleeps on the very word it
// watched (a futex, through std::atomic::wait), because on a crowded node the other side may not be running at all.
#include "core/base/thread_team.hpp"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>

#include "core/base/error.hpp"

namespace nacelle {
namespace {

using Clock = std::chrono::steady_clock;

// At a barrier the others are at work on the same step: two futex trips' worth of patience and no more.
constexpr std::chrono::microseconds kBarrierSpin{30};
// Between steps the host samples, schedules and writes the next step block: that takes up to 50 us.
constexpr std::chrono::microseconds kIdleSpin{100};
// On a crowded node spinning keeps the CPU from the very thread that is waited for. After this many barriers in a row
// where it was in vain the team sleeps at once, and tries a whole spin again only now and then.
constexpr std::uint32_t kCrowded = 4;
constexpr std::uint32_t kRetryEvery = 64;
constexpr std::chrono::microseconds kNoSpin{0};
// The clock is read once in this many pauses (some 20 to 140 cycles each).
constexpr int kPausesPerClockRead = 32;

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // what `yield` should have been: it does wait for some cycles
#endif
}

// Waits until `word` is no longer `old`; returns with everything that its writer did before. True if spinning sufficed.
bool wait_until_changed(const std::atomic<std::uint32_t>& word, std::uint32_t old, Clock::duration spin) noexcept {
  const auto changed = [&] {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (word.load(std::memory_order_acquire) != old) return true;
      pause();
    }
    return false;
  };
  if (changed()) return true;
  if (spin > kNoSpin)
    for (const auto deadline = Clock::now() + spin; Clock::now() < deadline;)
      if (changed()) return true;
  word.wait(old, std::memory_order_acquire);
  return false;
}

// The writer's half. The store is sequentially consistent: notify_all skips the kernel when it sees no sleeper, and
// that look must not be taken before the store is visible.
void change(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  word.store(value, std::memory_order_seq_cst);
  word.notify_all();
}

// True on a thread that is inside a run: a run from there would wait for itself.
thread_local bool inside_run = false;

}  // namespace

ThreadTeam::ThreadTeam(unsigned threads) : size_(std::max(1u, threads)) {
  session_.count = size_;
  try {
    for (unsigned index = 1; index < size_; ++index) threads_.emplace_back([this, index] { work(index); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(ErrorKind::kResource, "cannot start " + std::to_string(threads) + " compute threads: " + error.what() +
                                          "; lower --threads or the process limit is too tight");
  }
}

ThreadTeam::~ThreadTeam() { stop(); }

void ThreadTeam::stop() noexcept {
  stopping_.store(true, std::memory_order_relaxed);
  change(epoch_, epoch_.load(std::memory_order_relaxed) + 1);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  size_ = session_.count = 1;
}

// A wait inside a run, with the patience that the latest waits of this team suggest.
void ThreadTeam::wait_for_peers(Session& session, const std::atomic<std::uint32_t>& word, std::uint32_t old) noexcept {
  const std::uint32_t vain = session.vain_spins.load(std::memory_order_relaxed);
  const bool whole = vain < kCrowded || vain % kRetryEvery == 0;
  const bool spun = wait_until_changed(word, old, whole ? kBarrierSpin : kNoSpin);
  // A store, not an addition: all who wait in vain at one barrier count as one. Nothing is written while all is well.
  if (!spun)
    session.vain_spins.store(vain + 1, std::memory_order_relaxed);
  else if (whole && vain != 0)
    session.vain_spins.store(0, std::memory_order_relaxed);
}

void ThreadTeam::work(unsigned index) noexcept {
  pthread_setname_np(pthread_self(), ("nacelle-" + std::to_string(index)).substr(0, 15).c_str());
  inside_run = true;
  const nacelle_team_member member{&session_, index, size_};
  for (std::uint32_t seen = 0;; ++seen) {
    const bool crowded = session_.vain_spins.load(std::memory_order_relaxed) >= kCrowded;
    wait_until_changed(epoch_, seen, crowded ? kNoSpin : kIdleSpin);
    if (stopping_.load(std::memory_order_relaxed)) return;
    function_(argument_, &member);
    if (running_.fetch_sub(1, std::memory_order_seq_cst) == 1) running_.notify_all();
  }
}

void ThreadTeam::run(nacelle_team_function function, void* argument) noexcept {
  if (inside_run) {
    Session alone;
    const nacelle_team_member member{&alone, 0, 1};
    function(argument, &member);
    return;
  }
  const std::lock_guard lock(queue_);
  inside_run = true;
  session_.counter.store(0, std::memory_order_relaxed);
  if (size_ > 1) {
    function_ = function;
    argument_ = argument;
    running_.store(size_ - 1, std::memory_order_relaxed);
    change(epoch_, epoch_.load(std::memory_order_relaxed) + 1);
  }
  const nacelle_team_member member{&session_, 0, size_};
  function(argument, &member);
  for (std::uint32_t left; (left = running_.load(std::memory_order_acquire)) != 0;)
    wait_for_peers(session_, running_, left);
  inside_run = false;
}

void ThreadTeam::barrier(const nacelle_team_member* member) noexcept {
  auto& session = *static_cast<Session*>(member->team);
  const std::uint32_t generation = session.generation.load(std::memory_order_relaxed);
  if (session.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < session.count) {
    return wait_for_peers(session, session.generation, generation);
  }
  session.arrived.store(0, std::memory_order_relaxed);
  // Looking first leaves the line where it is when nothing was claimed.
  if (session.counter.load(std::memory_order_relaxed) != 0) session.counter.store(0, std::memory_order_relaxed);
  change(session.generation, generation + 1);
}

std::uint64_t ThreadTeam::claim(const nacelle_team_member* member, std::uint64_t count) noexcept {
  return static_cast<Session*>(member->team)->counter.fetch_add(count, std::memory_order_relaxed);
}

void ThreadTeam::parallel_for(std::uint64_t count, std::uint64_t grain, nacelle_range_function function,
                              void* argument) noexcept {
  if (count == 0) return;
  // Four ranges a thread even out threads of unequal speed.
  const std::uint64_t chunk = std::max({grain, std::uint64_t{1}, (count - 1) / (std::uint64_t{size_} * 4) + 1});
  if (chunk >= count || size_ == 1) return function(argument, 0, count);
  const std::uint64_t chunks = (count - 1) / chunk + 1;
  run([&](const nacelle_team_member& member) {
    for (std::uint64_t i; (i = claim(&member, 1)) < chunks;)
      function(argument, i * chunk, i == chunks - 1 ? count : (i + 1) * chunk);
  });
}

}  // namespace nacelle
