// Matmul by BF16 weights with vdpbf16ps: activations rounded to bf16, products of a column pair added in f32, in order.
// Packed group: [K / 2][16 rows][2].
//
// Of many rows a tile walks a stretch of columns at a time, short enough that its weights stay in L2 for all rows; sums
// wait in the output meanwhile.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/encode.hpp"
#include "backends/cpu/kernels/hints.hpp"

namespace nacelle::cpu {
namespace {

// As encode_bf16, but subnormals become zero, as which vdpbf16ps takes them.
inline void encode_rounding(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end,
                            std::uint8_t* row) {
  const std::uint32_t last = end * kQuantBlock < columns ? end * kQuantBlock : columns;
  for (std::uint32_t i = begin * kQuantBlock; i < last; i += kLanes, x += kLanes) {
    const auto values = (__m256i)_mm512_cvtneps_pbh(load_some(x, last - i < kLanes ? last - i : kLanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + i * 2), values);
  }
}

// Column pairs that share a stretch.
struct Stretch {
  std::uint32_t begin, end;
};

constexpr std::uint32_t kPairsAhead = 16;

template <int kRows, int kGroups>
inline void bf16_tile(const MatmulCall& call, const Stretch& pairs, std::uint32_t row, std::uint32_t group) {
  const std::uint8_t* w = call.weights + group * call.group_bytes;
  const std::uint8_t* x = call.x + row * call.x_stride;
  float* out = call.out + row * call.out_stride + group * kGroupRows;
  if constexpr (kRows > 1) claim_tile<kRows, kGroups, F>(out, call.out_stride, kRows);
  F sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGroups; ++g)
      sums[r][g] = pairs.begin == 0 ? zero() : load(out + r * call.out_stride + g * kGroupRows);
  for (std::uint32_t k = pairs.begin; k < pairs.end; ++k) {
    __m512i weights[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      // Of many rows the weights come from L2, row after row of tiles: a twentieth of the time was waiting for them.
      if constexpr (kRows > 1) prefetch<Cache::kL1>(w + g * call.group_bytes + (std::uint64_t{k} + kPairsAhead) * 64);
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
    for (int g = 0; g < kGroups; ++g) store(out + r * call.out_stride + g * kGroupRows, sums[r][g]);
}

constexpr int kBf16Rows = 8, kBf16Groups = 3;
constexpr std::uint32_t kStretchPairs = 1024;  // 192 KiB of kBf16Groups

// Rows in tiles of kRows, then what is left.
template <int kRows, int kGroups>
inline void bf16_rows(const MatmulCall& call, const Stretch& pairs, std::uint32_t row, std::uint32_t group) {
  for (; row + kRows <= call.rows; row += kRows) bf16_tile<kRows, kGroups>(call, pairs, row, group);
  if constexpr (kRows > 1)
    if (row < call.rows) bf16_rows<kRows - 1, kGroups>(call, pairs, row, group);
}

template <int kGroups>
inline void bf16_groups(const MatmulCall& call, std::uint32_t group) {
  const std::uint32_t pairs = (call.columns + 1) / 2, most = call.rows > kBf16Rows ? kStretchPairs : pairs;
  for (std::uint32_t begin = 0; begin < pairs; begin += most)
    bf16_rows<kBf16Rows, kGroups>(call, {begin, begin + most < pairs ? begin + most : pairs}, 0, group);
}

inline void multiply_bf16(const MatmulCall& call, std::uint32_t groups) {
  std::uint32_t group = 0;
  // A lone row takes one group after the other: one stream of memory is worth more than hiding the latency of
  // vdpbf16ps.
  if (call.rows == 1)
    for (; group < groups; ++group) bf16_tile<1, 1>(call, {0, (call.columns + 1) / 2}, 0, group);
  for (; group + kBf16Groups <= groups; group += kBf16Groups) bf16_groups<kBf16Groups>(call, group);
  for (; group + 2 <= groups; group += 2) bf16_groups<2>(call, group);
  for (; group < groups; ++group) bf16_groups<1>(call, group);
}

}  // namespace
}  // namespace nacelle::cpu
