// What the kernel benchmarks share: the ceilings of one thread, measured first, and the counters held against them.
#pragma once

#include <benchmark/benchmark.h>
#include <nacelle/backend.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "backends/cpu/isa.hpp"

namespace nacelle::cpu {

struct Machine {
  IsaSet isa;
  nacelle_ceilings ceilings;  // of one thread
};

// Registers the benchmarks of a file.
void add_matmul_benchmarks(const Machine& machine);
void add_attention_benchmarks(const Machine& machine);
void add_vector_benchmarks(const Machine& machine);
void add_recurrent_benchmarks(const Machine& machine);

// Bytes and operations a second, and the share that the floor has of the time: 1 is a kernel that cannot be faster.
// `peak`: operations a second of the instruction that it uses, 0 where nobody knows.
inline void set_counters(benchmark::State& state, const Machine& machine, double bytes, double operations,
                         double peak) {
  constexpr auto kRate = benchmark::Counter::kIsIterationInvariantRate;
  const double reads = machine.ceilings.read_bytes > 0 ? bytes / machine.ceilings.read_bytes : 0;
  const double floor_seconds = std::max(reads, peak > 0 ? operations / peak : 0);
  state.counters["read"] = benchmark::Counter(bytes, kRate);
  state.counters["ops"] = benchmark::Counter(operations, kRate);
  state.counters["of_floor"] = benchmark::Counter(floor_seconds, kRate);
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::uint8_t[], Free>;

// On huge pages, as the host's allocator gives.
inline Memory huge_memory(std::uint64_t size) {
  constexpr std::uint64_t kHugePage = 2 << 20;
  auto* bytes =
      static_cast<std::uint8_t*>(std::aligned_alloc(kHugePage, (size + 2 * kHugePage) / kHugePage * kHugePage));
  madvise(bytes, size, MADV_HUGEPAGE);
  return Memory(bytes);
}

}  // namespace nacelle::cpu
