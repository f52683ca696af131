// The instructions of AMX and AVX-VNNI that kernels use, in plain C++, for machines without them: included by the
// compiler's flags before a kernel's unit, so that the unit is tested as it is written. After Intel's manual (SDM,
// volume 2: LDTILECFG, TDPBSSD, TDPBF16PS, VPDPBUSD). A misuse that a processor would answer with a fault traps.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define __AVXVNNI__ 1

namespace emulated {
namespace {

struct Tiles {
  std::uint8_t rows[8] = {};
  std::uint16_t row_bytes[8] = {};
  alignas(64) std::uint8_t data[8][16][64] = {};
};
thread_local Tiles tiles;

inline void require(bool sound) {
  if (!sound) __builtin_trap();
}

inline void load_config(const void* memory) {
  const auto* bytes = static_cast<const std::uint8_t*>(memory);
  require(bytes[0] == 1 && bytes[1] == 0);
  tiles = {};
  for (int t = 0; t < 8; ++t) {
    std::memcpy(&tiles.row_bytes[t], bytes + 16 + 2 * t, 2);
    tiles.rows[t] = bytes[48 + t];
    require(tiles.rows[t] <= 16 && tiles.row_bytes[t] <= 64 && (tiles.rows[t] == 0) == (tiles.row_bytes[t] == 0));
  }
}
inline void release() { tiles = {}; }
inline void zero(int t) {
  require(tiles.rows[t] > 0);
  std::memset(tiles.data[t], 0, sizeof tiles.data[t]);
}
inline void load(int t, const void* base, std::uint64_t stride) {
  zero(t);
  for (int r = 0; r < tiles.rows[t]; ++r)
    std::memcpy(tiles.data[t][r], static_cast<const std::uint8_t*>(base) + r * stride, tiles.row_bytes[t]);
}
inline void store(int t, void* base, std::uint64_t stride) {
  require(tiles.rows[t] > 0);
  for (int r = 0; r < tiles.rows[t]; ++r)
    std::memcpy(static_cast<std::uint8_t*>(base) + r * stride, tiles.data[t][r], tiles.row_bytes[t]);
}

// c (m rows, n columns) += a (m rows, k quads) times b (k rows, n quads).
inline void check_shapes(int c, int a, int b) {
  require(c != a && c != b && a != b && tiles.rows[c] > 0 && tiles.rows[c] == tiles.rows[a] &&
          tiles.row_bytes[a] == 4 * tiles.rows[b] && tiles.row_bytes[b] == tiles.row_bytes[c]);
}
inline void dot_bytes(int c, int a, int b) {
  check_shapes(c, a, b);
  for (int m = 0; m < tiles.rows[c]; ++m)
    for (int n = 0; n < tiles.row_bytes[c] / 4; ++n) {
      std::int32_t sum;
      std::memcpy(&sum, &tiles.data[c][m][4 * n], 4);
      for (int k = 0; k < tiles.rows[b]; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<std::int8_t>(tiles.data[a][m][4 * k + i]) *
                 static_cast<std::int8_t>(tiles.data[b][k][4 * n + i]);
      std::memcpy(&tiles.data[c][m][4 * n], &sum, 4);
    }
}

inline float flush(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
inline float bf16_at(const std::uint8_t* p) {
  std::uint16_t half;
  std::memcpy(&half, p, 2);
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return flush(value);
}
inline void dot_bf16(int c, int a, int b) {
  check_shapes(c, a, b);
  for (int m = 0; m < tiles.rows[c]; ++m)
    for (int n = 0; n < tiles.row_bytes[c] / 4; ++n) {
      float even = 0, odd = 0, sum;
      for (int k = 0; k < tiles.rows[b]; ++k) {
        const std::uint8_t *x = &tiles.data[a][m][4 * k], *w = &tiles.data[b][k][4 * n];
        even = flush(__builtin_fmaf(bf16_at(x), bf16_at(w), even));
        odd = flush(__builtin_fmaf(bf16_at(x + 2), bf16_at(w + 2), odd));
      }
      std::memcpy(&sum, &tiles.data[c][m][4 * n], 4);
      sum = flush(flush(sum) + flush(even + odd));
      std::memcpy(&tiles.data[c][m][4 * n], &sum, 4);
    }
}

inline __m256i dpbusd(__m256i sum, __m256i codes, __m256i x) {
  std::int32_t sums[8];
  std::uint8_t a[32];
  std::int8_t b[32];
  std::memcpy(sums, &sum, 32);
  std::memcpy(a, &codes, 32);
  std::memcpy(b, &x, 32);
  for (int i = 0; i < 32; ++i) sums[i / 4] += a[i] * b[i];
  std::memcpy(&sum, sums, 32);
  return sum;
}

}  // namespace
}  // namespace emulated

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadconfig(memory) emulated::load_config(memory)
#define _tile_release() emulated::release()
#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, base, stride) emulated::load(tile, base, stride)
#define _tile_stored(tile, base, stride) emulated::store(tile, base, stride)
#define _tile_dpbssd(c, a, b) emulated::dot_bytes(c, a, b)
#define _tile_dpbf16ps(c, a, b) emulated::dot_bf16(c, a, b)
#define _mm256_dpbusd_avx_epi32(sum, codes, x) emulated::dpbusd(sum, codes, x)
