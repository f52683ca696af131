// The pool of compute threads: one function runs once on each, they meet at barriers and share work by claiming chunks.
// Tuned for token steps: an entry and a barrier cost well under a microsecond while all threads run; a thread that
// waits longer than a bounded spin sleeps in the kernel, so that neither an idle server nor a crowded node burns CPU.
#pragma once

#include <nacelle/plugin.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace nacelle {

class ThreadTeam {
 public:
  // Starts `threads - 1` threads: the caller of run() is the first member. 0 counts as 1. Throws Error(kResource).
  explicit ThreadTeam(unsigned threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  unsigned size() const noexcept { return size_; }

  // Runs `function` once on every thread and returns when all have returned. `function` must not throw. Calls from
  // several threads are queued. A call from inside a run has the calling thread alone as its team.
  void run(nacelle_team_function function, void* argument) noexcept;

  // Splits [0, count) into ranges of at least `grain` (but for the last) and runs them on the team; a single range runs
  // on the caller alone.
  void parallel_for(std::uint64_t count, std::uint64_t grain, nacelle_range_function function, void* argument) noexcept;

  // Inside a run. All members wait for each other; the chunk counter starts again at 0.
  static void barrier(const nacelle_team_member* member) noexcept;
  // Inside a run. Adds `count` to the shared counter and returns its value from before.
  static std::uint64_t claim(const nacelle_team_member* member, std::uint64_t count) noexcept;

  // run() and parallel_for() for callables: body(member) and body(begin, end).
  template <class Body>
  void run(Body&& body) noexcept {
    run([](void* argument,
           const nacelle_team_member* member) { (*static_cast<std::remove_reference_t<Body>*>(argument))(*member); },
        &body);
  }
  template <class Body>
  void parallel_for(std::uint64_t count, std::uint64_t grain, Body&& body) noexcept {
    parallel_for(
        count, grain,
        [](void* argument, std::uint64_t begin, std::uint64_t end) {
          (*static_cast<std::remove_reference_t<Body>*>(argument))(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // Ends and joins the threads; later runs have one member. Not concurrent with run().
  void stop() noexcept;

 private:
  // What the members of one run share. The barrier's two words lie in one cache line: the last to arrive owns it
  // already when it opens the barrier, which saves a trip between cores.
  struct Session {
    alignas(64) std::atomic<std::uint32_t> arrived{0};
    std::atomic<std::uint32_t> generation{0};  // barriers passed
    alignas(64) std::atomic<std::uint64_t> counter{0};
    alignas(64) std::atomic<std::uint32_t> vain_spins{0};  // in a row; see wait_for_peers
    std::uint32_t count = 1;
  };

  void work(unsigned index) noexcept;
  static void wait_for_peers(Session& session, const std::atomic<std::uint32_t>& word, std::uint32_t old) noexcept;

  unsigned size_;
  Session session_;
  std::mutex queue_;  // one run at a time
  nacelle_team_function function_ = nullptr;
  void* argument_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};  // runs started, and the word that idle threads sleep on
  alignas(64) std::atomic<std::uint32_t> running_{
      0};  // members of the current run that have not returned, but the caller
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace nacelle
