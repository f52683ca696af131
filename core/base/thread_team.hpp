// The pool of compute threads: one function runs once on each, they meet at barriers and share work by claiming chunks.
// Tuned for token steps: an entry and a barrier cost well under a microsecond while all threads run; a thread that
// waits longer than a bounded spin sleeps in the kernel, so that neither an idle server nor a crowded node burns CPU.
#pragma once

#include <nacelle/plugin.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/base/team_sizer.hpp"

namespace nacelle {

class ThreadTeam {
 public:
  static constexpr unsigned kMaxThreads = 2047;

  // Starts `threads - 1` threads: the caller of run() is the first member. 0 counts as 1. Where `cpus` is not empty,
  // member i runs on cpus[i % cpus.size()] alone; the caller for the time of the run, then it is free again. Right on a
  // machine of our own only: the kernel cannot move a bound thread away from a busy CPU. Throws Error: kInvalidArgument
  // above kMaxThreads, kResource when a thread cannot be started.
  explicit ThreadTeam(unsigned threads, std::vector<unsigned> cpus = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  // The most members a run can have.
  unsigned size() const noexcept { return size_; }

  // Runs `function` once on every thread and returns when all have returned. `function` must not throw. Calls from
  // several threads are queued. A call from inside a run has the calling thread alone as its team.
  void run(nacelle_team_function function, void* argument) noexcept;

  // The same for work that is divided by claims alone: each member claims until nothing is left and only then goes to
  // the barrier. Nobody waits for a member that holds no chunk: a barrier opens when all who have claimed since the
  // last one have come, a member that the kernel let sleep past it finds nothing to claim until it has caught up, and
  // one that wakes after the end does not run at all. So a thread whose CPU another process keeps busy costs its share
  // of the work and no more; where even that is too much, runs get fewer members than size() (see TeamSizer). Results
  // must not depend on who computes what.
  void share(nacelle_team_function function, void* argument) noexcept;

  // Splits [0, count) into ranges of at least `grain` (but for the last) and runs them on the team; a single range runs
  // on the caller alone.
  void parallel_for(std::uint64_t count, std::uint64_t grain, nacelle_range_function function, void* argument) noexcept;

  // Inside a run. All members wait for each other (but see share); the chunk counter starts again at 0.
  static void barrier(const nacelle_team_member* member) noexcept;
  // A barrier in two halves: true for the last member to come; the others return false once it has called open().
  static bool arrive(const nacelle_team_member* member) noexcept;
  static void open(const nacelle_team_member* member) noexcept;
  // Inside a run. Adds `count` to the shared counter and returns its value from before; in share() 2^64 - 1 for a
  // member that has been left behind.
  static std::uint64_t claim(const nacelle_team_member* member, std::uint64_t count) noexcept;

  // run(), share() and parallel_for() for callables: body(member) and body(begin, end).
  template <class Body>
  void run(Body&& body) noexcept {
    run(&call_member<std::remove_reference_t<Body>>, address(body));
  }
  template <class Body>
  void share(Body&& body) noexcept {
    share(&call_member<std::remove_reference_t<Body>>, address(body));
  }
  template <class Body>
  void parallel_for(std::uint64_t count, std::uint64_t grain, Body&& body) noexcept {
    parallel_for(
        count, grain,
        [](void* argument, std::uint64_t begin, std::uint64_t end) {
          (*static_cast<std::remove_reference_t<Body>*>(argument))(begin, end);
        },
        address(body));
  }

  // Ends and joins the threads; later runs have one member. Not concurrent with run().
  void stop() noexcept;

 private:
  template <class Body>
  static void call_member(void* argument, const nacelle_team_member* member) {
    (*static_cast<Body*>(argument))(*member);
  }
  template <class Body>
  static void* address(Body& body) {
    return const_cast<void*>(static_cast<const void*>(&body));
  }

  // What the members of one run share. A run is a row of phases with a barrier between two of them.
  struct Session {
    // The phase's number, whether it is over, and how many members are in it, that is: may hold a chunk. The last of
    // them to come to the barrier ends it and opens the next.
    alignas(64) std::atomic<std::uint32_t> phase{1};
    // Of even and of odd phases: the next one's is set to 0 while nobody can claim from it.
    struct Counter {
      alignas(64) std::atomic<std::uint64_t> value{0};
    } counters[2];
    alignas(64) std::atomic<std::uint32_t> vain_spins{0};  // in a row; see wait_for_peers
    std::uint32_t initial = 1;                             // members in a phase from its start: all of them, or none
    // Of all members, added by each at its end; see TeamRun. In ns.
    alignas(64) std::atomic<std::int64_t> cpu{0}, preempted{0};
    std::atomic<std::uint64_t> units{0};

    void open(std::uint32_t members) noexcept;
  };
  // One thread's place in a run; nacelle_team_member.team points to it.
  struct Seat {
    Session* session;
    std::uint32_t phase;  // the one that this member is in or behind the barrier of
    bool inside;          // counted in Session::phase
    std::chrono::nanoseconds slept{};
    std::uint64_t units = 0;  // claimed

    bool join() noexcept;
  };

  template <class Body>
  void exclusively(nacelle_team_function function, void* argument, Body body) noexcept;
  void share_with(unsigned members, nacelle_team_function function, void* argument) noexcept;
  void launch(nacelle_team_function function, void* argument, unsigned members, bool strict) noexcept;
  void work(unsigned index) noexcept;
  bool enter(unsigned index, std::uint32_t& last, std::uint32_t& members) noexcept;
  static void call(Session& session, unsigned index, unsigned members, nacelle_team_function function,
                   void* argument) noexcept;
  template <class Word, class Waiting>
  static std::chrono::nanoseconds wait_for_peers(Session& session, const std::atomic<Word>& word,
                                                 Waiting waiting) noexcept;

  unsigned size_;
  const std::vector<unsigned> cpus_;
  TeamSizer sizer_;
  Session session_;
  std::mutex queue_;  // one run at a time
  nacelle_team_function function_ = nullptr;
  void* argument_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};  // runs started, and the word that idle threads sleep on
  alignas(64) std::atomic<std::uint64_t> entry_{0};  // who may enter the latest run and who is in it; see Entry
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace nacelle
