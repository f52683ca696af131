// The integer half of the vector vocabulary, AVX2; see ints_avx512.hpp.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {
namespace {

using I = __m256i;

inline I load_i(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline I set_i32(std::int32_t x) { return _mm256_set1_epi32(x); }
inline I set_i8(std::int8_t x) { return _mm256_set1_epi8(x); }
inline I set_quad(const std::uint8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return _mm256_set1_epi32(quad);
}
inline F set_word(const std::uint8_t* p) { return _mm256_castsi256_ps(set_quad(p)); }
inline I and_i(I a, I b) { return _mm256_and_si256(a, b); }
inline I or_i(I a, I b) { return _mm256_or_si256(a, b); }
inline I xor_i(I a, I b) { return _mm256_xor_si256(a, b); }
inline I add_i(I a, I b) { return _mm256_add_epi32(a, b); }
inline I mul_i(I a, I b) { return _mm256_mullo_epi32(a, b); }
template <int kBits>
inline I shift_right(I a) {
  if constexpr (kBits > 0) return _mm256_srli_epi16(a, kBits);
  if constexpr (kBits < 0) return _mm256_slli_epi16(a, -kBits);
  return a;
}
inline I look_up(I codes, const std::uint8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), codes);
}
inline F to_f(I a) { return _mm256_cvtepi32_ps(a); }
inline I load_signed(const std::uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline I load_unsigned(const std::uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
template <int kBits>
inline I shift_right_i32(I a) {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>
inline I shift_left_i32(I a) {
  return _mm256_slli_epi32(a, kBits);
}
inline I dot_pairs(I a, I b) { return _mm256_madd_epi16(a, b); }
inline F as_f(I a) { return _mm256_castsi256_ps(a); }

#if defined(__AVXVNNI__)
constexpr bool kUnsignedBytes = true;
template <int kBits>
constexpr int kDotQuads = 1;
template <int kBits>
inline I dot(I sum, const I (&codes)[1], const std::uint8_t* x) {
  return _mm256_dpbusd_avx_epi32(sum, codes[0], set_quad(x));
}
#else
// vpmaddubsw saturates at 16 bits. Four products of 5 bits with an int8 fit, or two of 6 bits; of whole bytes one does,
// where they are signed: |value| <= 128 times |x| <= 127, twice.
constexpr bool kUnsignedBytes = false;
template <int kBits>
constexpr int kDotQuads = kBits <= 5   ? 4
                          : kBits <= 6 ? 2
                                       : 1;
template <int kBits>
inline I dot(I sum, const I (&codes)[kDotQuads<kBits>], const std::uint8_t* x) {
  I pairs;
  if constexpr (kBits == 8) {
    pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes[0]), _mm256_sign_epi8(set_quad(x), codes[0]));
  } else {
    pairs = _mm256_maddubs_epi16(codes[0], set_quad(x));
    for (int q = 1; q < kDotQuads<kBits>; ++q)
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[q], set_quad(x + 4 * q)));
  }
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  asm("" : "+x"(sum));  // one after the other: GCC would make a tree of the sums, out of registers and out of order
  return sum;
}
#endif

}  // namespace
}  // namespace nacelle::cpu
