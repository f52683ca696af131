// How many threads take part, on made-up machines: what a run costs for each number of members is a table here.
#include "core/base/team_sizer.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <map>

using nacelle::TeamRun;
using nacelle::TeamSizer;
using namespace std::chrono_literals;

namespace {

// A machine on which a run with so many members takes so long and loses so many CPUs to others.
struct Cost {
  std::chrono::microseconds wall;
  double lost = 0;
};

struct Machine {
  explicit Machine(unsigned size) : sizer(size) {}

  // Runs for `time`; returns how often each number of members was asked for.
  std::map<unsigned, unsigned> run(std::chrono::milliseconds time, std::map<unsigned, Cost> costs) {
    std::map<unsigned, unsigned> counts;
    for (const auto end = now + time; now < end;) step(costs, counts, 1000);
    return counts;
  }
  void step(std::map<unsigned, Cost>& costs, std::map<unsigned, unsigned>& counts, std::uint64_t units) {
    const unsigned members = sizer.next();
    const Cost cost = costs.at(members);
    const auto preempted = std::chrono::duration_cast<TeamRun::Duration>(cost.wall * cost.lost);
    now += cost.wall;
    sizer.note({members, cost.wall, cost.wall * members - preempted, preempted, units + members}, now);
    ++counts[members];
  }

  TeamSizer sizer;
  TeamRun::Duration now{};
};

}  // namespace

TEST_CASE("on a free machine all take part and nothing is tried") {
  Machine machine(2);
  CHECK(machine.run(5s, {{2, {10ms, 0.03}}}) == std::map<unsigned, unsigned>{{2, 500}});
}

TEST_CASE("beside a neighbour the smaller team stays where it is faster, and the whole one is tried again") {
  Machine machine(2);
  const std::map<unsigned, Cost> beside{{1, {20ms}}, {2, {30ms, 0.5}}}, free{{1, {20ms}}, {2, {10ms}}};
  machine.run(1s, beside);
  CHECK(machine.sizer.next() == 1);
  auto counts = machine.run(20s, beside);
  CHECK(counts[2] >= 5);
  CHECK(counts[2] < 30);  // each trial ends with its first slow run
  CHECK(machine.sizer.next() == 1);
  machine.run(3s, free);  // the longest pause, and the trial itself
  CHECK(machine.run(1s, free) == std::map<unsigned, unsigned>{{2, 100}});
}

TEST_CASE("beside neighbours on all CPUs the whole team stays where it is faster") {
  Machine machine(2);
  const std::map<unsigned, Cost> beside{{1, {40ms}}, {2, {25ms, 0.9}}};
  auto counts = machine.run(20s, beside);
  CHECK(machine.sizer.next() == 2);
  CHECK(counts[1] >= 3);
  CHECK(counts[1] < 30);
}

TEST_CASE("a difference within the noise changes nothing") {
  Machine machine(2);
  machine.run(5s, {{1, {10ms}}, {2, {10ms, 0.5}}});
  CHECK(machine.run(1s, {{1, {10ms}}, {2, {10ms, 0.5}}})[2] > 50);
}

TEST_CASE("a large team goes to the number of CPUs that it gets, and back step by step") {
  Machine machine(16);
  std::map<unsigned, Cost> beside, free;
  for (unsigned n = 1; n <= 16; ++n) {
    beside[n] = n <= 12 ? Cost{120'000us / n} : Cost{20ms, n - 12.0};
    free[n] = {120'000us / n};
  }
  machine.run(2s, beside);
  CHECK(machine.sizer.next() == 12);
  machine.run(10s, free);
  CHECK(machine.sizer.next() == 16);
}

TEST_CASE("runs of another kind do not decide a trial") {
  Machine machine(2);
  std::map<unsigned, Cost> decode{{1, {20ms}}, {2, {30ms, 0.5}}}, prompt{{1, {900ms}}, {2, {500ms, 0.5}}};
  std::map<unsigned, unsigned> counts;
  for (int i = 0; i < 60; ++i) {
    machine.step(decode, counts, 1000);
    if (i % 5 == 4) machine.step(prompt, counts, 9000);
  }
  CHECK(machine.sizer.next() == 1);
}

TEST_CASE("runs too short to be judged change nothing, and a single thread stays alone") {
  Machine machine(2);
  CHECK(machine.run(100ms, {{2, {100us, 0.9}}})[2] == 1000);
  Machine alone(1);
  CHECK(alone.run(1s, {{1, {10ms, 0.5}}})[1] == 100);
}
