// Hints to the processor's caches.
#pragma once

#include <cstdint>

namespace nacelle::cpu {
namespace {

// Where a hint puts a line.
enum class Cache { kL1 = 3, kL2 = 2, kPast = 0 };  // kPast: in L1, and out of it no further
// GCC takes a function that does nothing but this for one without effect and drops calls of it, unless it is inlined
// early: this one, and those made of it, always are.
template <Cache kCache>
[[gnu::always_inline]] inline void prefetch(const std::uint8_t* p) {
  __builtin_prefetch(p, 0, static_cast<int>(kCache));
}

// The lines of a tile of `rows` rows of kVectors vectors are soon written. Each store to a line that this core does not
// own waits for it, one after the other, and what waits fills the queue of stores: so they are claimed together, a
// tile's products ahead. `Vector`: the type of one.
template <int kRows, int kVectors, class Vector>
[[gnu::always_inline]] inline void claim_tile(const float* out, std::uint64_t stride, std::uint32_t rows) {
#pragma GCC unroll 8
  for (std::uint32_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (std::uint64_t at = 0; at < kVectors * sizeof(Vector); at += 64)
      if (r < rows) __builtin_prefetch(reinterpret_cast<const std::uint8_t*>(out + r * stride) + at, 1);
}

}  // namespace
}  // namespace nacelle::cpu
