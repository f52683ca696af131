// What this processor could do at best: the ceilings that kernels are held against. Loops that touch registers only, of
// the best multiply-add that the usable ISA has, and a read of memory that no cache holds.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <nacelle/plugin.hpp>

#include "backends/cpu/isa.hpp"

namespace nacelle::cpu {

// `run` does `rounds` rounds of independent multiply-adds and returns something of the result, so that it is not
// optimised away. An ISA without the instruction has a null `run`.
struct CeilingLoop {
  std::uint64_t (*run)(std::uint64_t rounds);
  std::uint32_t operations;  // of a round; a multiply-add counts as two
};

// One ISA's loops; each translation unit exports one table, as for kernels.
struct CeilingKernels {
  Isa isa;
  CeilingLoop int8, bf16, f32;
  // Sums what it reads, a multiple of 512 bytes, and asks for what lies `ahead`; 0: for nothing.
  std::uint64_t (*read)(const std::uint8_t* bytes, std::uint64_t count, std::uint64_t ahead);
};

extern const CeilingKernels kPortableCeilings;
#if defined(__x86_64__)
extern const CeilingKernels kAvx2Ceilings;
extern const CeilingKernels kAvxVnniCeilings;
extern const CeilingKernels kAvx512Ceilings;
extern const CeilingKernels kAvx512Bf16Ceilings;
extern const CeilingKernels kAmxCeilings;
#elif defined(__aarch64__)
extern const CeilingKernels kNeonCeilings, kDotprodCeilings, kI8mmCeilings;
#endif

// Measures on all threads of the host's pool; best of several short stretches each, of one at least, and no more once
// `seconds` have passed. Without `memory` the reading of memory, which takes the most time, is left at 0.
nacelle_ceilings measure_ceilings(const sdk::Host& host, IsaSet usable, double seconds, bool memory = true);

}  // namespace nacelle::cpu
