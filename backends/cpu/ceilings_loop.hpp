// The shape of all ceiling loops: as many independent accumulators as hide an instruction's latency, fed from
// registers. Include in a unit of one ISA; all of it has internal linkage.
#pragma once

#include "backends/cpu/ceilings.hpp"

namespace nacelle::cpu {
namespace {

constexpr int kChains =
    12;  // of latency 4 to 6 at two a cycle; the two operands and a product fit beside them in 16 registers

// Makes both operands new to the compiler. The constraint names the vector registers.
template <class Vector>
[[gnu::always_inline]] inline void renew(Vector& a, Vector& b) {
#if defined(__aarch64__)
  __asm__ volatile("" : "+w"(a), "+w"(b));
#else
  __asm__ volatile("" : "+x"(a), "+x"(b));
#endif
}

// `Step::add(sum, a, b)`: one multiply-add of whole vectors. Renewed operands make each product a new one, so that none
// is hoisted or shared.
template <class Step>
std::uint64_t run_loop(std::uint64_t rounds) {
  using V = typename Step::Vector;
  V sums[kChains], a = Step::ones(), b = Step::ones();
  for (V& sum : sums) sum = Step::ones();
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      renew(a, b);
      sums[i] = Step::add(sums[i], a, b);
    }
  }
  std::uint64_t total = 0;
  for (const V& sum : sums) {
    std::uint64_t part;
    __builtin_memcpy(&part, &sum, sizeof part);
    total += part;
  }
  return total;
}

template <class Step>
constexpr CeilingLoop loop_of() {
  return {run_loop<Step>, 2 * kChains * Step::kMultiplies};
}

// Eight loads of `Vector` in flight, and the lines `ahead` bytes after them on their way, where it is not 0.
template <class Vector, Vector (*kAdd)(Vector, Vector)>
std::uint64_t read_bytes(const std::uint8_t* bytes, std::uint64_t count, std::uint64_t ahead) {
  Vector sums[8] = {};
  for (std::uint64_t i = 0; i < count; i += 8 * sizeof(Vector)) {
    if (ahead)
      for (std::uint64_t k = 0; k < 8 * sizeof(Vector); k += 64) __builtin_prefetch(bytes + i + ahead + k);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      Vector value;
      __builtin_memcpy(&value, bytes + i + static_cast<std::uint64_t>(k) * sizeof(Vector), sizeof value);
      sums[k] = kAdd(sums[k], value);
    }
  }
  std::uint64_t total = 0;
  for (const Vector& sum : sums) {
    std::uint64_t part;
    __builtin_memcpy(&part, &sum, sizeof part);
    total += part;
  }
  return total;
}

}  // namespace
}  // namespace nacelle::cpu
