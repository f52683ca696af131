// Waiting is the whole art here. Every wait first spins with the CPU's pause hint, because the other side is usually
// less than a microsecond away and a trip through the kernel costs ten times that; then it sleeps on the very word it
// watched (a futex, through std::atomic::wait), because on a crowded node the other side may not be running at all.
#include "core/base/thread_team.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/thread_cpu.hpp"

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

// Waits while `waiting(value of word)`; returns with everything that its writer did before, and how long it
// slept: 0 if spinning sufficed.
template <class Word, class Waiting>
Clock::duration wait_while(const std::atomic<Word>& word, Waiting waiting, Clock::duration spin) noexcept {
  const auto over = [&] {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (!waiting(word.load(std::memory_order_acquire))) return true;
      pause();
    }
    return false;
  };
  if (over()) return kNoSpin;
  auto now = Clock::now();
  for (const auto deadline = now + spin; now < deadline; now = Clock::now())
    if (over()) return kNoSpin;
  for (Word value; waiting(value = word.load(std::memory_order_acquire));) word.wait(value, std::memory_order_acquire);
  return std::max<Clock::duration>(Clock::now() - now, Clock::duration(1));
}

// The writer's half. The store is sequentially consistent: notify_all skips the kernel when it sees no sleeper, and
// that look must not be taken before the store is visible.
void change(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  word.store(value, std::memory_order_seq_cst);
  word.notify_all();
}

// Session::phase: from the top the number, the end's mark, the members.
constexpr std::uint32_t kPhaseStep = 1u << 12, kPhaseOver = kPhaseStep >> 1;
static_assert(ThreadTeam::kMaxThreads < kPhaseOver);
std::uint32_t phase_of(std::uint32_t word) noexcept { return word & ~(kPhaseStep - 1); }
std::uint32_t members_of(std::uint32_t word) noexcept { return word & (kPhaseOver - 1); }

// ThreadTeam::entry_: from the top the run's epoch, its members, whether all of them must run (then they count as
// inside from the start), whether one may still enter, and how many but the caller are inside.
struct Entry {
  static constexpr std::uint64_t kOpen = 1u << 14, kStrict = 1u << 15;
  static std::uint64_t make(std::uint32_t epoch, unsigned members, bool strict) noexcept {
    return std::uint64_t{epoch} << 32 | std::uint64_t{members} << 16 | kOpen | (strict ? kStrict | (members - 1) : 0);
  }
  static std::uint32_t epoch(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 32); }
  static std::uint32_t members(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 16 & 0xffff); }
  static std::uint64_t inside(std::uint64_t word) noexcept { return word & (kOpen - 1); }
};

// Keeps this thread on one of `cpus` while it lives; does nothing where there is none or the kernel refuses.
class Binding {
 public:
  Binding(const std::vector<unsigned>& cpus, unsigned member) noexcept {
    if (cpus.empty() || ::sched_getaffinity(0, sizeof free_, &free_) != 0) return;
    const unsigned cpu = cpus[member % cpus.size()];
    if (cpu >= CPU_SETSIZE) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    bound_ = ::sched_setaffinity(0, sizeof one, &one) == 0;
  }
  ~Binding() {
    if (bound_) ::sched_setaffinity(0, sizeof free_, &free_);
  }
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

 private:
  cpu_set_t free_;
  bool bound_ = false;
};

// True on a thread that is inside a run: a run from there would wait for itself.
thread_local bool inside_run = false;

}  // namespace

ThreadTeam::ThreadTeam(unsigned threads, std::vector<unsigned> cpus)
    : size_(std::max(1u, threads)), cpus_(std::move(cpus)), sizer_(size_) {
  if (threads > kMaxThreads)
    throw Error(ErrorKind::kInvalidArgument, "cannot start " + std::to_string(threads) + " compute threads: at most " +
                                                 std::to_string(kMaxThreads) + " can work together");
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
  sizer_ = TeamSizer(size_ = 1);
}

// Nobody is in a run of this session.
void ThreadTeam::Session::open(std::uint32_t members) noexcept {
  initial = members;
  units.store(0, std::memory_order_relaxed);
  cpu.store(0, std::memory_order_relaxed);
  preempted.store(0, std::memory_order_relaxed);
  counters[0].value.store(0, std::memory_order_relaxed);
  phase.store(members, std::memory_order_relaxed);
}

// A wait inside a run, with the patience that the latest waits of this team suggest.
template <class Word, class Waiting>
std::chrono::nanoseconds ThreadTeam::wait_for_peers(Session& session, const std::atomic<Word>& word,
                                                    Waiting waiting) noexcept {
  const std::uint32_t vain = session.vain_spins.load(std::memory_order_relaxed);
  const bool whole = vain < kCrowded || vain % kRetryEvery == 0;
  const auto slept = wait_while(word, waiting, whole ? kBarrierSpin : kNoSpin);
  // A store, not an addition: all who wait in vain at one barrier count as one. Nothing is written while all is well.
  if (slept != kNoSpin)
    session.vain_spins.store(vain + 1, std::memory_order_relaxed);
  else if (whole && vain != 0)
    session.vain_spins.store(0, std::memory_order_relaxed);
  return slept;
}

// Whether this thread has a part in the latest run. `last` is the epoch of the latest one it had.
bool ThreadTeam::enter(unsigned index, std::uint32_t& last, std::uint32_t& members) noexcept {
  std::uint64_t entry = entry_.load(std::memory_order_acquire);
  do {
    members = Entry::members(entry);
    if (Entry::epoch(entry) == last || !(entry & Entry::kOpen) || index >= members) return false;
  } while (!(entry & Entry::kStrict) && !entry_.compare_exchange_weak(entry, entry + 1, std::memory_order_acq_rel));
  last = Entry::epoch(entry);
  return true;
}

void ThreadTeam::call(Session& session, unsigned index, unsigned members, nacelle_team_function function,
                      void* argument) noexcept {
  Seat seat{&session, 0, session.initial != 0};
  const nacelle_team_member member{&seat, index, members};
  const auto begin = Clock::now();
  const auto cpu_begin = thread_cpu();
  function(argument, &member);
  const auto cpu = thread_cpu() - cpu_begin;
  session.units.fetch_add(seat.units, std::memory_order_relaxed);
  session.cpu.fetch_add(cpu.count(), std::memory_order_relaxed);
  session.preempted.fetch_add((Clock::now() - begin - cpu - seat.slept).count(), std::memory_order_relaxed);
}

void ThreadTeam::work(unsigned index) noexcept {
  pthread_setname_np(pthread_self(), ("nacelle-" + std::to_string(index)).substr(0, 15).c_str());
  const Binding binding(cpus_, index);
  inside_run = true;
  for (std::uint32_t seen = 0, last = 0, members = 0;;) {
    const bool crowded = session_.vain_spins.load(std::memory_order_relaxed) >= kCrowded;
    wait_while(
        epoch_, [&](std::uint32_t epoch) { return epoch == seen; }, crowded ? kNoSpin : kIdleSpin);
    if (stopping_.load(std::memory_order_relaxed)) return;
    seen = epoch_.load(std::memory_order_acquire);
    if (!enter(index, last, members)) continue;
    call(session_, index, members, function_, argument_);
    const std::uint64_t left = entry_.fetch_sub(1, std::memory_order_seq_cst) - 1;
    if (Entry::inside(left) == 0) entry_.notify_all();
  }
}

// Starts a run, takes part in it and sees it end.
void ThreadTeam::launch(nacelle_team_function function, void* argument, unsigned members, bool strict) noexcept {
  session_.open(strict || members == 1 ? members : 0);
  if (members == 1) return call(session_, 0, 1, function, argument);
  function_ = function;
  argument_ = argument;
  const std::uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  entry_.store(Entry::make(epoch, members, strict), std::memory_order_release);
  change(epoch_, epoch);
  call(session_, 0, members, function, argument);
  if (!strict) entry_.fetch_and(~Entry::kOpen, std::memory_order_acq_rel);
  wait_for_peers(session_, entry_, [](std::uint64_t entry) { return Entry::inside(entry) != 0; });
}

// Calls `body` while no other run is on; from inside a run the function is called for this thread alone.
template <class Body>
void ThreadTeam::exclusively(nacelle_team_function function, void* argument, Body body) noexcept {
  if (inside_run) {
    Session alone;
    return call(alone, 0, 1, function, argument);
  }
  const std::lock_guard lock(queue_);
  const Binding binding(cpus_, 0);
  inside_run = true;
  body();
  inside_run = false;
}

void ThreadTeam::run(nacelle_team_function function, void* argument) noexcept {
  exclusively(function, argument, [&] { launch(function, argument, size_, true); });
}

void ThreadTeam::share_with(unsigned members, nacelle_team_function function, void* argument) noexcept {
  exclusively(function, argument, [&] { launch(function, argument, members, false); });
}

void ThreadTeam::share(nacelle_team_function function, void* argument) noexcept {
  exclusively(function, argument, [&] {
    const auto begin = Clock::now();
    const unsigned members = sizer_.next();
    launch(function, argument, members, false);
    const auto end = Clock::now();
    const std::chrono::nanoseconds cpu{session_.cpu.load(std::memory_order_relaxed)};
    const std::chrono::nanoseconds preempted{session_.preempted.load(std::memory_order_relaxed)};
    sizer_.note({members, end - begin, cpu, preempted, session_.units.load(std::memory_order_relaxed)},
                end.time_since_epoch());
  });
}

// Enters the member's phase. False when that is over: there is nothing left to claim.
bool ThreadTeam::Seat::join() noexcept {
  if (inside) return true;
  std::uint32_t word = session->phase.load(std::memory_order_acquire);
  do {
    if (phase_of(word) != phase || (word & kPhaseOver)) return false;
  } while (!session->phase.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel));
  return inside = true;
}

void ThreadTeam::barrier(const nacelle_team_member* member) noexcept {
  if (arrive(member)) open(member);
}

bool ThreadTeam::arrive(const nacelle_team_member* member) noexcept {
  Seat& seat = *static_cast<Seat*>(member->team);
  std::atomic<std::uint32_t>& phase = seat.session->phase;
  const std::uint32_t here = seat.phase;
  const bool joined = seat.join();
  seat.phase = here + kPhaseStep;
  seat.inside = seat.session->initial != 0;
  for (std::uint32_t word = phase.load(std::memory_order_acquire); joined;) {
    const bool last = members_of(word) == 1;
    if (!phase.compare_exchange_weak(word, last ? word | kPhaseOver : word - 1, std::memory_order_acq_rel)) continue;
    if (last) return true;
    break;
  }
  seat.slept += wait_for_peers(*seat.session, phase, [&](std::uint32_t now) { return phase_of(now) == here; });
  return false;
}

void ThreadTeam::open(const nacelle_team_member* member) noexcept {
  const Seat& seat = *static_cast<Seat*>(member->team);
  // Nobody is in either phase. Looking first leaves the line where it is when nothing was claimed.
  auto& counter = seat.session->counters[seat.phase / kPhaseStep % 2].value;
  if (counter.load(std::memory_order_relaxed) != 0) counter.store(0, std::memory_order_relaxed);
  change(seat.session->phase, seat.phase | seat.session->initial);
}

std::uint64_t ThreadTeam::claim(const nacelle_team_member* member, std::uint64_t count) noexcept {
  Seat& seat = *static_cast<Seat*>(member->team);
  if (!seat.join()) return ~std::uint64_t{0};
  seat.units += count;
  return seat.session->counters[seat.phase / kPhaseStep % 2].value.fetch_add(count, std::memory_order_relaxed);
}

void ThreadTeam::parallel_for(std::uint64_t count, std::uint64_t grain, nacelle_range_function function,
                              void* argument) noexcept {
  if (count == 0) return;
  // Four ranges a thread even out threads of unequal speed.
  const std::uint64_t chunk = std::max({grain, std::uint64_t{1}, (count - 1) / (std::uint64_t{size_} * 4) + 1});
  if (chunk >= count || size_ == 1) return function(argument, 0, count);
  const std::uint64_t chunks = (count - 1) / chunk + 1;
  const auto claim_all = [&](const nacelle_team_member& member) {
    for (std::uint64_t i; (i = claim(&member, 1)) < chunks;)
      function(argument, i * chunk, i == chunks - 1 ? count : (i + 1) * chunk);
  };
  share_with(size_, &call_member<decltype(claim_all)>, address(claim_all));
}

}  // namespace nacelle
