// Matmul by BF16 weights with vdpbf16ps: activations rounded to bf16, products of a column pair added in f32, in order.
// Packed group: [K / 2][16 rows][2].
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/encode.hpp"

namespace nacelle::cpu {
namespace {

template <int kRows, int kGroups>
inline void bf16_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  const std::uint8_t* w = call.weights + group * call.group_bytes;
  const std::uint8_t* x = call.x + row * call.x_stride;
  F sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGroups; ++g) sums[r][g] = zero();
  const std::uint32_t pairs = (call.columns + 1) / 2;
  for (std::uint32_t k = 0; k < pairs; ++k) {
    __m512i weights[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      weights[g] = _mm512_loadu_si512(w + g * call.group_bytes + std::uint64_t{k} * 64);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      std::int32_t pair;
      __builtin_memcpy(&pair, x + r * call.x_stride + k * 4, 4);
      const __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm512_dpbf16_ps(sums[r][g], (__m512bh)weights[g], value);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGroups; ++g)
      store(call.out + (row + r) * call.out_stride + (group + g) * kGroupRows, sums[r][g]);
}

constexpr int kBf16Rows = 8, kBf16Groups = 3;

// Rows in tiles of kRows, then what is left.
template <int kRows, int kGroups>
inline void bf16_rows(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  for (; row + kRows <= call.rows; row += kRows) bf16_tile<kRows, kGroups>(call, row, group);
  if constexpr (kRows > 1)
    if (row < call.rows) bf16_rows<kRows - 1, kGroups>(call, row, group);
}

inline void multiply_bf16(const MatmulCall& call, std::uint32_t groups) {
  std::uint32_t group = 0;
  // A lone row takes eight groups: that many accumulators hide the latency of vdpbf16ps.
  if (call.rows == 1)
    for (; group + 8 <= groups; group += 8) bf16_tile<1, 8>(call, 0, group);
  for (; group + kBf16Groups <= groups; group += kBf16Groups) bf16_rows<kBf16Rows, kBf16Groups>(call, 0, group);
  for (; group < groups; ++group) bf16_rows<kBf16Rows, 1>(call, 0, group);
}

}  // namespace
}  // namespace nacelle::cpu
