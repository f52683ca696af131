// The thread team: who runs, barriers, claims, ranges, queued callers, and that waiting costs no CPU.
#include "core/base/thread_team.hpp"

#include <sched.h>
#include <time.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <numeric>

#include "core/base/error.hpp"

using nacelle::ThreadTeam;

namespace {

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace

TEST_CASE("each member runs once, the caller as the first") {
  for (const unsigned threads : {0u, 1u, 2u, 5u}) {
    ThreadTeam team(threads);
    const unsigned count = std::max(1u, threads);
    REQUIRE(team.size() == count);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<std::thread::id> ids(count);
      std::atomic<unsigned> runs{0};
      team.run([&](const nacelle_team_member& member) {
        ids.at(member.index) = std::this_thread::get_id();
        runs += member.count == count;
      });
      CHECK(runs == count);
      CHECK(ids[0] == std::this_thread::get_id());
      CHECK(std::count(ids.begin(), ids.end(), std::thread::id()) == 0);
    }
  }
}

TEST_CASE("a barrier shows every member what all others wrote") {
  for (const unsigned threads : {2u, 3u, 8u}) {
    ThreadTeam team(threads);
    std::vector<unsigned> values(threads, 0);  // plain memory: the barrier alone orders it
    std::atomic<int> wrong{0};
    team.run([&](const nacelle_team_member& member) {
      for (unsigned step = 1; step <= 300; ++step) {
        values[member.index] = step;
        ThreadTeam::barrier(&member);
        if (std::accumulate(values.begin(), values.end(), 0u) != step * threads) ++wrong;
        ThreadTeam::barrier(&member);
      }
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("a barrier holds when members come late, and after long waits") {
  ThreadTeam team(2);
  std::atomic<int> passed{0}, early{0};
  team.run([&](const nacelle_team_member& member) {
    for (int step = 0; step < 10; ++step) {
      if (member.index == static_cast<unsigned>(step % 2)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        early += passed != 2 * step;
      }
      ThreadTeam::barrier(&member);
      ++passed;
      ThreadTeam::barrier(&member);
    }
  });
  CHECK(passed == 20);
  CHECK(early == 0);
}

TEST_CASE("claims hand out each number once and start again at a barrier and in each run") {
  ThreadTeam team(3);
  for (int run = 0; run < 20; ++run) {
    std::vector<std::atomic<int>> claimed(2000);
    team.run([&](const nacelle_team_member& member) {
      for (std::uint64_t half = 0; half < 2; ++half) {
        for (std::uint64_t begin; (begin = ThreadTeam::claim(&member, 10)) < 1000;)
          for (std::uint64_t i = 0; i < 10; ++i) ++claimed[1000 * half + begin + i];
        ThreadTeam::barrier(&member);
      }
    });
    CHECK(std::all_of(claimed.begin(), claimed.end(), [](const auto& count) { return count == 1; }));
  }
}

TEST_CASE("ranges cover everything once and respect the grain") {
  for (const unsigned threads : {1u, 4u}) {
    ThreadTeam team(threads);
    for (const std::uint64_t count : {0u, 1u, 7u, 64u, 1000u})
      for (const std::uint64_t grain : {0u, 1u, 3u, 64u, 5000u}) {
        std::vector<std::atomic<int>> visits(count);
        std::atomic<int> small{0}, ranges{0};
        team.parallel_for(count, grain, [&](std::uint64_t begin, std::uint64_t end) {
          ++ranges;
          small += end - begin < grain && end != count;
          for (; begin < end; ++begin) ++visits.at(begin);
        });
        INFO(threads << " threads, " << count << " by " << grain);
        CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& visit) { return visit == 1; }));
        CHECK(small == 0);
        CHECK((count > 0) == (ranges > 0));
      }
  }
  ThreadTeam team(2);
  std::atomic<std::uint64_t> sum{0};
  team.parallel_for(~0ull, ~0ull / 3, [&](std::uint64_t begin, std::uint64_t end) { sum += end - begin; });
  CHECK(sum == ~0ull);
}

TEST_CASE("runs from several threads are queued") {
  ThreadTeam team(2);
  std::atomic<int> inside{0}, overlaps{0}, runs{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i)
        team.run([&](const nacelle_team_member& member) {
          if (member.index == 0 && inside.fetch_add(1) != 0) ++overlaps;
          ThreadTeam::barrier(&member);
          if (member.index == 0) --inside;
          ++runs;
        });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(overlaps == 0);
  CHECK(runs == 2 * 4 * 100);
}

TEST_CASE("a run from inside a run has its caller alone") {
  ThreadTeam team(2);
  std::atomic<int> inner{0}, wrong{0};
  team.run([&](const nacelle_team_member&) {
    team.run([&](const nacelle_team_member& member) {
      wrong += member.count != 1 || member.index != 0;
      wrong += ThreadTeam::claim(&member, 5) != 0;
      ThreadTeam::barrier(&member);
      wrong += ThreadTeam::claim(&member, 1) != 0;
      ++inner;
    });
  });
  CHECK(inner == 2);
  CHECK(wrong == 0);
}

TEST_CASE("a stopped team is its caller") {
  ThreadTeam team(3);
  team.stop();
  CHECK(team.size() == 1);
  int runs = 0;
  team.run([&](const nacelle_team_member& member) { runs += member.count == 1; });
  CHECK(runs == 1);
  team.stop();
}

TEST_CASE("an idle team and one that waits long use no CPU") {
  ThreadTeam team(4);
  team.run([](const nacelle_team_member&) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double idle = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  CHECK(cpu_seconds() - idle < 0.03);
  const double waiting = cpu_seconds();
  team.run([](const nacelle_team_member& member) {
    if (member.index == 0) std::this_thread::sleep_for(std::chrono::milliseconds(150));
    ThreadTeam::barrier(&member);
  });
  CHECK(cpu_seconds() - waiting < 0.03);
}

TEST_CASE("shared work does not wait for a member that holds none of it") {
  ThreadTeam team(2);
  constexpr int kPhases = 50, kChunks = 8;
  for (int run = 0; run < 20; ++run) {
    std::vector<std::atomic<int>> done(kPhases * kChunks);
    std::atomic<bool> caller_is_through{false};
    std::atomic<int> left_behind{0};
    team.share([&](const nacelle_team_member& member) {
      // The other member sleeps through all phases, as one whose CPU is taken away. It holds nothing.
      if (member.index != 0) caller_is_through.wait(false);
      for (int phase = 0; phase < kPhases; ++phase) {
        for (std::uint64_t i; (i = ThreadTeam::claim(&member, 1)) < kChunks;) ++done[phase * kChunks + i];
        ThreadTeam::barrier(&member);
      }
      if (member.index != 0) left_behind += ThreadTeam::claim(&member, 1) != 0;
      if (member.index == 0) caller_is_through = true, caller_is_through.notify_all();
    });
    CHECK(std::all_of(done.begin(), done.end(), [](const auto& count) { return count == 1; }));
  }
}

TEST_CASE("a barrier of shared work waits for who holds a part of it") {
  ThreadTeam team(3);
  std::atomic<int> early{0};
  std::vector<unsigned> values(3);  // plain memory: the barrier alone orders it
  for (int run = 0; run < 30; ++run)
    team.share([&](const nacelle_team_member& member) {
      for (unsigned phase = 1; phase <= 100; ++phase) {
        for (std::uint64_t i; (i = ThreadTeam::claim(&member, 1)) < values.size();) {
          if (i == phase % 3 && phase % 25 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
          values[i] = phase;
        }
        ThreadTeam::barrier(&member);
        for (std::uint64_t i; (i = ThreadTeam::claim(&member, 1)) < values.size();) early += values[i] != phase;
        ThreadTeam::barrier(&member);
      }
    });
  CHECK(early == 0);
}

TEST_CASE("barriers without work between them are passed, alone and together, and a member may leave early") {
  for (const unsigned threads : {1u, 2u, 6u}) {
    ThreadTeam team(threads);
    std::atomic<std::uint64_t> claimed{0};
    for (int run = 0; run < 50; ++run)
      team.share([&](const nacelle_team_member& member) {
        if (member.index == 5) return;
        for (int i = 0; i < 7; ++i) ThreadTeam::barrier(&member);
        while (ThreadTeam::claim(&member, 1) < 10) ++claimed;
        ThreadTeam::barrier(&member);
      });
    CHECK(claimed == 50 * 10);
  }
}

TEST_CASE("the last member to come works alone before the barrier opens") {
  for (const bool shared : {false, true}) {
    ThreadTeam team(3);
    int alone = 0;  // plain memory: the barrier alone orders it
    std::atomic<int> wrong{0};
    const auto body = [&](const nacelle_team_member& member) {
      for (int phase = 0; phase < 200; ++phase) {
        while (ThreadTeam::claim(&member, 1) < 4) wrong += alone != phase;
        if (!ThreadTeam::arrive(&member)) continue;
        if (phase % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++alone;
        ThreadTeam::open(&member);
      }
    };
    shared ? team.share(body) : team.run(body);
    CHECK(alone == 200);
    CHECK(wrong == 0);
  }
}

TEST_CASE("bound threads stay on their CPUs, and the caller is free again") {
  cpu_set_t allowed;
  REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  ThreadTeam team(3, cpus);
  std::atomic<int> wrong{0};
  team.run([&](const nacelle_team_member& member) {
    cpu_set_t now;
    wrong += ::sched_getaffinity(0, sizeof now, &now) != 0 || CPU_COUNT(&now) != 1 ||
             !CPU_ISSET(cpus[member.index % cpus.size()], &now);
  });
  CHECK(wrong == 0);
  cpu_set_t after;
  REQUIRE(::sched_getaffinity(0, sizeof after, &after) == 0);
  CHECK(CPU_EQUAL(&after, &allowed));
}

TEST_CASE("a team has a largest size") { CHECK_THROWS_AS(ThreadTeam(ThreadTeam::kMaxThreads + 1), nacelle::Error); }
