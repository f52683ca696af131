// Matmul by Q8_0 and Q4_0 weights with AVX2: the packing and the order of matmul_quant_avx512.hpp, half a group at a
// time. Q8_0 widens to 16 bits, because vpmaddubsw of two full bytes saturates; nibbles cannot saturate it within a
// block.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/encode.hpp"

namespace nacelle::cpu {
namespace {

inline __m256i load_bytes(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i broadcast_word(const std::uint8_t* p) {
  std::int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

struct Q8Block {
  static constexpr std::uint32_t kBytes = 512, kColumnBytes = 2;  // activations as int16
  // dots[r]: the exact sums of one block, 8 weight rows a register.
  template <int kRows>
  static void dot(const std::uint8_t* w, const std::uint8_t* x, std::uint64_t x_stride, __m256i (&dots)[kRows]) {
    __m256i low[kRows], high[kRows];  // rows 0..3 and 4..7, two partial sums a row
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = 0; step < 8; ++step) {
      const __m128i* p = reinterpret_cast<const __m128i*>(w + step * 64);
      const __m256i w_low = _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
      const __m256i w_high = _mm256_cvtepu8_epi16(_mm_loadu_si128(p + 1));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        long long quad;
        __builtin_memcpy(&quad, x + r * x_stride + step * 8, 8);
        const __m256i value = _mm256_set1_epi64x(quad);
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(w_low, value));
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(w_high, value));
      }
    }
    for (int r = 0; r < kRows; ++r)
      dots[r] = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[r], high[r]), _MM_SHUFFLE(3, 1, 2, 0));
  }
};

struct Q4Block {
  static constexpr std::uint32_t kBytes = 256, kColumnBytes = 1;
  template <int kRows>
  static void dot(const std::uint8_t* w, const std::uint8_t* x, std::uint64_t x_stride, __m256i (&dots)[kRows]) {
    const __m256i nibble = _mm256_set1_epi8(0x0f), one = _mm256_set1_epi16(1);
    for (int r = 0; r < kRows; ++r) dots[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      const __m256i both = load_bytes(w + step * 64);
      const __m256i w_low = _mm256_and_si256(both, nibble);
      const __m256i w_high = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const std::uint8_t* quad = x + r * x_stride + step * 4;
        // 8 products of at most 2 * 15 * 127 stay below 32768.
        dots[r] = _mm256_add_epi16(dots[r], _mm256_maddubs_epi16(w_low, broadcast_word(quad)));
        dots[r] = _mm256_add_epi16(dots[r], _mm256_maddubs_epi16(w_high, broadcast_word(quad + 16)));
      }
    }
    for (int r = 0; r < kRows; ++r) dots[r] = _mm256_madd_epi16(dots[r], one);
  }
};

// kRows rows times 8 weight rows: half `half` of a group.
template <class Block, int kRows>
inline void quant_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group, std::uint32_t half) {
  const std::uint32_t blocks = call.columns / kQuantBlock;
  const std::uint8_t* w = call.weights + group * call.group_bytes + half * 32;
  const std::uint8_t* w_scales =
      call.weights + group * call.group_bytes + std::uint64_t{blocks} * Block::kBytes + half * 16;
  const std::uint8_t* x = call.x + row * call.x_stride;
  const std::uint8_t* x_scales = x + call.columns * Block::kColumnBytes;
  const std::uint8_t* x_starts = x_scales + blocks * 4;
  F sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = zero();
  for (std::uint32_t b = 0; b < blocks; ++b) {
    __m256i dots[kRows];
    if (kRows == 1)
      for (std::uint32_t line = half * 64; line < Block::kBytes; line += 128)
        _mm_prefetch(reinterpret_cast<const char*>(w + (b + 4) * Block::kBytes + line), _MM_HINT_T0);
    Block::template dot<kRows>(w + b * Block::kBytes, x + b * kQuantBlock * Block::kColumnBytes, call.x_stride, dots);
    const F scale = load_f16(reinterpret_cast<const std::uint16_t*>(w_scales + b * 32));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F x_scale = _mm256_castsi256_ps(broadcast_word(x_scales + r * call.x_stride + b * 4));
      const __m256i dot = _mm256_add_epi32(dots[r], broadcast_word(x_starts + r * call.x_stride + b * 4));
      sums[r] = fma(_mm256_cvtepi32_ps(dot), mul(scale, x_scale), sums[r]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    store(call.out + (row + r) * call.out_stride + group * kGroupRows + half * kLanes, sums[r]);
}

constexpr int kQuantRows = 4;

template <class Block>
void multiply_quant(const MatmulCall& call, std::uint32_t groups) {
  for (std::uint32_t i = 0; i < groups * 2; ++i) {
    std::uint32_t row = 0;
    const std::uint32_t group = i / 2, half = i % 2;
    for (; row + kQuantRows <= call.rows; row += kQuantRows) quant_tile<Block, kQuantRows>(call, row, group, half);
    switch (call.rows - row) {
      case 3: quant_tile<Block, 3>(call, row, group, half); break;
      case 2: quant_tile<Block, 2>(call, row, group, half); break;
      case 1: quant_tile<Block, 1>(call, row, group, half); break;
      default: break;
    }
  }
}

}  // namespace
}  // namespace nacelle::cpu
