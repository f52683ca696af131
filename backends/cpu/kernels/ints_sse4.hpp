// The integer half of the vector vocabulary in SSE4.1, which is in the baseline of an x86-64 build; see
// ints_avx512.hpp.
#pragma once

#include <immintrin.h>

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {
namespace {

inline I load_i(const std::uint8_t* p) { return (I)_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline I set_i32(std::int32_t x) { return (I)_mm_set1_epi32(x); }
inline I set_i8(std::int8_t x) { return (I)_mm_set1_epi8(x); }
inline I set_quad(const std::uint8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return set_i32(quad);
}
inline F set_word(const std::uint8_t* p) { return (F)set_quad(p); }
inline I and_i(I a, I b) { return a & b; }
inline I or_i(I a, I b) { return a | b; }
inline I xor_i(I a, I b) { return a ^ b; }
inline I add_i(I a, I b) { return a + b; }
inline I mul_i(I a, I b) { return (I)_mm_mullo_epi32((__m128i)a, (__m128i)b); }
template <int kBits>
inline I shift_right(I a) {
  if constexpr (kBits > 0) return (I)_mm_srli_epi16((__m128i)a, kBits);
  if constexpr (kBits < 0) return (I)_mm_slli_epi16((__m128i)a, -kBits);
  return a;
}
inline I look_up(I codes, const std::uint8_t* table) {
  return (I)_mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), (__m128i)codes);
}
inline F to_f(I a) { return (F)_mm_cvtepi32_ps((__m128i)a); }
inline I load_signed(const std::uint8_t* p) { return (I)_mm_cvtepi8_epi32((__m128i)set_quad(p)); }
inline I load_unsigned(const std::uint8_t* p) { return (I)_mm_cvtepu8_epi32((__m128i)set_quad(p)); }
template <int kBits>
inline I shift_right_i32(I a) {
  return (I)_mm_srli_epi32((__m128i)a, kBits);
}
template <int kBits>
inline I shift_left_i32(I a) {
  return (I)_mm_slli_epi32((__m128i)a, kBits);
}
inline I dot_pairs(I a, I b) { return (I)_mm_madd_epi16((__m128i)a, (__m128i)b); }
inline F as_f(I a) { return (F)a; }

// As in ints_avx2.hpp.
constexpr bool kUnsignedBytes = false;
template <int kBits>
constexpr int kDotQuads = kBits <= 5   ? 4
                          : kBits <= 6 ? 2
                                       : 1;
template <int kBits>
inline I dot(I sum, const I (&codes)[kDotQuads<kBits>], const std::uint8_t* x) {
  __m128i pairs;
  if constexpr (kBits == 8) {
    const __m128i value = (__m128i)codes[0];
    pairs = _mm_maddubs_epi16(_mm_abs_epi8(value), _mm_sign_epi8((__m128i)set_quad(x), value));
  } else {
    pairs = _mm_maddubs_epi16((__m128i)codes[0], (__m128i)set_quad(x));
    for (int q = 1; q < kDotQuads<kBits>; ++q)
      pairs = _mm_add_epi16(pairs, _mm_maddubs_epi16((__m128i)codes[q], (__m128i)set_quad(x + 4 * q)));
  }
  return sum + (I)_mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

}  // namespace
}  // namespace nacelle::cpu
