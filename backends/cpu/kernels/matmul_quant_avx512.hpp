// Matmul by Q8_0 and Q4_0 weights with AVX-512 VNNI. Lane = output row; a block of 32 columns is exact in int32
// (vpdpbusd of unsigned weights and signed activations), then one f32 fused multiply-add, in block order.
//
// Packed group of 16 rows: Q8_0 [K / 32][8 column quads][16 rows][4 columns] of weight + 128; Q4_0 [K / 32][4][16][4]
// of bytes whose low nibble is quad j and whose high nibble is quad j + 4; then f16 scales [K / 32][16 rows].
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/encode.hpp"

namespace nacelle::cpu {
namespace {

// The eight column quads of one block of one group, as unsigned bytes.
struct Q8Block {
  static constexpr std::uint32_t kBytes = 512;
  static constexpr int kSteps = 8, kQuads = 1;
  static void load_quads(const std::uint8_t* p, __m512i (&quads)[1]) { quads[0] = _mm512_loadu_si512(p); }
};
struct Q4Block {
  static constexpr std::uint32_t kBytes = 256;
  static constexpr int kSteps = 4, kQuads = 2;
  static void load_quads(const std::uint8_t* p, __m512i (&quads)[2]) {
    const __m512i nibble = _mm512_set1_epi8(0x0f), both = _mm512_loadu_si512(p);
    quads[0] = _mm512_and_si512(both, nibble);
    quads[1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
  }
};

inline __m512i broadcast_quad(const std::uint8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return _mm512_set1_epi32(quad);
}

// Far enough ahead of a stream to hide memory, near enough to stay in L1.
constexpr std::uint32_t kPrefetchBytes = 2048;

template <class Block, int kRows, int kGroups>
inline void quant_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  const std::uint32_t blocks = call.columns / kQuantBlock;
  const std::uint8_t* w = call.weights + group * call.group_bytes;
  const std::uint8_t* x = call.x + row * call.x_stride;
  const std::uint8_t* x_scales = x + call.columns;
  const std::uint8_t* x_starts = x_scales + blocks * 4;
  const std::uint8_t* w_scales = w + std::uint64_t{blocks} * Block::kBytes;
  F sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGroups; ++g) sums[r][g] = zero();

  for (std::uint32_t b = 0; b < blocks; ++b) {
    __m512i dots[kRows][kGroups];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
      for (int g = 0; g < kGroups; ++g) dots[r][g] = broadcast_quad(x_starts + r * call.x_stride + b * 4);
#pragma GCC unroll 8
    for (int step = 0; step < Block::kSteps; ++step) {
      __m512i quads[kGroups][Block::kQuads];
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) {
        const std::uint8_t* p = w + g * call.group_bytes + b * Block::kBytes + step * 64;
        if (kRows == 1) _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchBytes), _MM_HINT_T0);
        Block::load_quads(p, quads[g]);
      }
#pragma GCC unroll 8
      for (int q = 0; q < Block::kQuads; ++q) {
        const std::uint8_t* quad = x + b * kQuantBlock + (step + q * Block::kSteps) * 4;
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const __m512i value = broadcast_quad(quad + r * call.x_stride);
#pragma GCC unroll 8
          for (int g = 0; g < kGroups; ++g) dots[r][g] = _mm512_dpbusd_epi32(dots[r][g], quads[g][q], value);
        }
      }
    }
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const F scale = load_f16(reinterpret_cast<const std::uint16_t*>(w_scales + g * call.group_bytes + b * 32));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const F x_scale = _mm512_castsi512_ps(broadcast_quad(x_scales + r * call.x_stride + b * 4));
        sums[r][g] = fma(_mm512_cvtepi32_ps(dots[r][g]), mul(scale, x_scale), sums[r][g]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGroups; ++g)
      store(call.out + (row + r) * call.out_stride + (group + g) * kGroupRows, sums[r][g]);
}

constexpr int kQuantRows = 6;

template <class Block, int kGroups>
inline void quant_rows(const MatmulCall& call, std::uint32_t group) {
  std::uint32_t row = 0;
  for (; row + kQuantRows <= call.rows; row += kQuantRows) quant_tile<Block, kQuantRows, kGroups>(call, row, group);
  switch (call.rows - row) {
    case 5: quant_tile<Block, 5, kGroups>(call, row, group); break;
    case 4: quant_tile<Block, 4, kGroups>(call, row, group); break;
    case 3: quant_tile<Block, 3, kGroups>(call, row, group); break;
    case 2: quant_tile<Block, 2, kGroups>(call, row, group); break;
    case 1: quant_tile<Block, 1, kGroups>(call, row, group); break;
    default: break;
  }
}

template <class Block>
void multiply_quant(const MatmulCall& call, std::uint32_t groups) {
  std::uint32_t group = 0;
  for (; group + 2 <= groups; group += 2) quant_rows<Block, 2>(call, group);
  if (group < groups) quant_rows<Block, 1>(call, group);
}

}  // namespace
}  // namespace nacelle::cpu
