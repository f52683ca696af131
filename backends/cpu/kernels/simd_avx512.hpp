// The vector vocabulary of the kernels, 16 lanes of AVX-512. simd_avx2.hpp and simd_portable.hpp define the same names.
// Everything has internal linkage, so that the linker cannot merge code of this ISA into a file built for another.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace nacelle::cpu {
namespace {

using F = __m512;
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
constexpr bool kFused = true;  // fma() rounds once

inline F zero() { return _mm512_setzero_ps(); }
inline F set(float x) { return _mm512_set1_ps(x); }
inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
inline __mmask16 first(std::uint32_t n) { return static_cast<__mmask16>((1u << n) - 1); }
// The first n < kLanes elements; the others read as zero, or stay as they are.
inline F load_first(const float* p, std::uint32_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline void store_first(float* p, F x, std::uint32_t n) { _mm512_mask_storeu_ps(p, first(n), x); }
// Lanes n and up become `other`.
inline F keep_first(F x, std::uint32_t n, F other) { return _mm512_mask_mov_ps(other, first(n), x); }

inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }
inline F max(F a, F b) { return _mm512_max_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F abs(F a) { return _mm512_abs_ps(a); }
inline F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a < b ? x : y
inline F less(F a, F b, F x, F y) { return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x); }
// a * 2^n for whole n in [-126, 127]
inline F scale_pow2(F a, F n) { return _mm512_scalef_ps(a, n); }
inline float sum(F a) { return _mm512_reduce_add_ps(a); }
inline float highest(F a) { return _mm512_reduce_max_ps(a); }
// Lane i < 4: of x[i].
template <class Join>
inline F join_each(const F (&x)[4], Join join) {
  const F a = join(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
  const F b = join(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
  const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
  F y = join(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  y = join(y, _mm512_shuffle_f32x4(y, y, 0x4e));
  return join(y, _mm512_shuffle_f32x4(y, y, 0xb1));
}
inline F sum_of_each(const F (&x)[4]) { return join_each(x, add); }
inline F highest_of_each(const F (&x)[4]) { return join_each(x, max); }
// Bit i: a[i] >= b[i]
inline std::uint32_t at_least(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
// Lane i: bit i of `bits` ? a : b
inline F choose(std::uint32_t bits, F a, F b) { return _mm512_mask_mov_ps(b, static_cast<__mmask16>(bits), a); }

inline F load_f16(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_f16(std::uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
inline F load_bf16(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// Round to nearest even; NaN stays NaN.
inline void store_bf16(std::uint16_t* p, F x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
// 16 pairs of bf16: the first of each pair, and the second.
inline void load_bf16_pairs(const std::uint8_t* p, F& even, F& odd) {
  const __m512i pairs = _mm512_loadu_si512(p);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
// Rounds to nearest even and stores as integers, saturated.
inline void store_i8(std::int8_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

inline F set_f16(const std::uint16_t* p) { return set(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(*p)))); }
inline F load_i8(const std::int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
// The low or high halves of kLanes bytes.
inline F load_nibbles(const std::uint8_t* p, bool high) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(high ? _mm512_srli_epi32(bytes, 4) : _mm512_and_si512(bytes, _mm512_set1_epi32(15)));
}

}  // namespace
}  // namespace nacelle::cpu
