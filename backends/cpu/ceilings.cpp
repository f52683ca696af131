// Timing of the ceiling loops on all threads at once.
#include "backends/cpu/ceilings.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <initializer_list>

namespace nacelle::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kReadBytes = 512u << 20;  // more than the last-level cache that two cores can reach
constexpr std::uint64_t kReadGrain = 1u << 20;    // bytes a claim
constexpr int kReadPasses = 6, kLoopPasses = 7;
// With hints and without, in turns: AMD's cores read faster with them, Intel's without (16.5 GB/s a thread, and 15).
constexpr std::uint64_t kAhead[] = {4096, 0};
constexpr double kLoopSeconds = 0.004;  // of a pass: short enough that one of them finds the machine quiet

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// The tables that this build has, from the highest.
std::initializer_list<const CeilingKernels*> tables() {
  static constexpr std::initializer_list<const CeilingKernels*> kTables = {
#if defined(__x86_64__)
    &kAmxCeilings,
    &kAvx512Bf16Ceilings,
    &kAvx512Ceilings,
    &kAvxVnniCeilings,
    &kAvx2Ceilings,
#elif defined(__aarch64__)
    &kI8mmCeilings,
    &kDotprodCeilings,
    &kNeonCeilings,
#endif
    &kPortableCeilings
  };
  return kTables;
}

// The loop of the highest usable ISA that has one.
const CeilingLoop* find(CeilingLoop CeilingKernels::*loop, IsaSet usable) {
  for (const CeilingKernels* table : tables())
    if (usable.has(table->isa) && (table->*loop).run) return &(table->*loop);
  return nullptr;
}

// Ends the measuring: the instant after which no further pass begins.
using Deadline = Clock::time_point;

double best_ops(const sdk::Host& host, const CeilingLoop* loop, Deadline deadline, std::atomic<std::uint64_t>& sink) {
  if (!loop) return 0;
  std::uint64_t rounds = 1000;
  for (double seconds = 0; seconds < kLoopSeconds / 4; rounds *= 2) {
    const auto begin = Clock::now();
    sink += loop->run(rounds);
    seconds = seconds_since(begin);
  }
  double best = 0;
  for (int pass = 0; pass < kLoopPasses && (pass == 0 || Clock::now() < deadline); ++pass) {
    Clock::time_point begin;
    host.team_run([&](const nacelle_team_member& member) {
      host.barrier(member);
      if (member.index == 0) begin = Clock::now();
      sink += loop->run(rounds);
      host.barrier(member);
    });
    const double operations = static_cast<double>(rounds) * loop->operations * host.team_size();
    best = std::max(best, operations / seconds_since(begin));
  }
  return best;
}

double best_read(const sdk::Host& host, IsaSet usable, Deadline deadline, std::atomic<std::uint64_t>& sink) {
  const auto read = (*std::find_if(tables().begin(), tables().end(), [&](const CeilingKernels* table) {
                      return usable.has(table->isa) && table->read;
                    }))->read;
  // In a small container a smaller stretch, rather than none.
  std::uint64_t free =
      static_cast<std::uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t limit = std::strtoull(host.config("host.memory_limit").value_or("0").c_str(), nullptr, 10);
  if (limit != 0) free = std::min(free, limit);
  const std::uint64_t grains = std::clamp<std::uint64_t>(free / 4, 16 * kReadGrain, kReadBytes) / kReadGrain;
  const sdk::Buffer memory(host, grains * kReadGrain);
  host.parallel_for(grains, 1,
                    [&](std::uint64_t begin, std::uint64_t end) {  // untouched pages would all be one of zeros
                      std::fill(memory.as<std::uint8_t>(begin * kReadGrain), memory.as<std::uint8_t>(end * kReadGrain),
                                std::uint8_t{1});
                    });
  double best = 0;
  for (int pass = 0; pass < kReadPasses && (pass == 0 || Clock::now() < deadline); ++pass) {
    const auto begin = Clock::now();
    host.parallel_for(grains, 1, [&](std::uint64_t first, std::uint64_t last) {
      sink += read(memory.as<std::uint8_t>(first * kReadGrain), (last - first) * kReadGrain, kAhead[pass % 2]);
    });
    best = std::max(best, static_cast<double>(memory.size()) / seconds_since(begin));
  }
  return best;
}

}  // namespace

nacelle_ceilings measure_ceilings(const sdk::Host& host, IsaSet usable, double seconds, bool memory) {
  std::atomic<std::uint64_t> sink{0};
  const Deadline deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  auto ceilings = sdk::make<nacelle_ceilings>();
  ceilings.int8_ops = best_ops(host, find(&CeilingKernels::int8, usable), deadline, sink);
  ceilings.bf16_ops = best_ops(host, find(&CeilingKernels::bf16, usable), deadline, sink);
  ceilings.f32_ops = best_ops(host, find(&CeilingKernels::f32, usable), deadline, sink);
  if (memory) ceilings.read_bytes = best_read(host, usable, deadline, sink);
  return ceilings;
}

}  // namespace nacelle::cpu
