// The integer half of the vector vocabulary, AVX-512 BW and VNNI: what the kernels for block formats are made of. The
// other ints_*.hpp define the same names. Include after the simd_*.hpp of the same ISA.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {
namespace {

// kLanes int32, or four times as many bytes.
using I = __m512i;

inline I load_i(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
// Past the caches, aligned to 64 bytes.
inline I load_once(const std::uint8_t* p) { return _mm512_stream_load_si512(const_cast<std::uint8_t*>(p)); }
inline I set_i32(std::int32_t x) { return _mm512_set1_epi32(x); }
inline I set_i8(std::int8_t x) { return _mm512_set1_epi8(x); }
// The four bytes at p in every lane.
inline I set_quad(const std::uint8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return _mm512_set1_epi32(quad);
}
inline F set_word(const std::uint8_t* p) { return _mm512_castsi512_ps(set_quad(p)); }
inline I and_i(I a, I b) { return _mm512_and_si512(a, b); }
inline I or_i(I a, I b) { return _mm512_or_si512(a, b); }
inline I xor_i(I a, I b) { return _mm512_xor_si512(a, b); }
inline I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
inline I sub_i8(I a, I b) { return _mm512_sub_epi8(a, b); }
inline I mul_i(I a, I b) { return _mm512_mullo_epi32(a, b); }
// By bits; of a byte's neighbours shifted in, the caller masks what it does not want.
template <int kBits>
inline I shift_right(I a) {
  if constexpr (kBits > 0) return _mm512_srli_epi16(a, kBits);
  if constexpr (kBits < 0) return _mm512_slli_epi16(a, -kBits);
  return a;
}
// table[code] of each byte, codes below 16.
inline I look_up(I codes, const std::uint8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), codes);
}
inline F to_f(I a) { return _mm512_cvtepi32_ps(a); }
inline I load_signed(const std::uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline I load_unsigned(const std::uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <int kBits>
inline I shift_right_i32(I a) {
  return _mm512_srli_epi32(a, kBits);
}
template <int kBits>
inline I shift_left_i32(I a) {
  return _mm512_slli_epi32(a, kBits);
}
// The sum of the products of a lane's two int16 with those of b.
inline I dot_pairs(I a, I b) { return _mm512_madd_epi16(a, b); }
inline F as_f(I a) { return _mm512_castsi512_ps(a); }

// Whether the dot product of 8-bit values takes them unsigned, value + offset; else they are signed (value itself).
constexpr bool kUnsignedBytes = true;
// Quads that one call of dot takes.
template <int kBits>
constexpr int kDotQuads = 1;
// sum + the products of a lane's four bytes with the quad at x, exactly. kBits hold each byte of `codes`.
template <int kBits>
inline I dot(I sum, const I (&codes)[1], const std::uint8_t* x) {
  return _mm512_dpbusd_epi32(sum, codes[0], set_quad(x));
}

}  // namespace
}  // namespace nacelle::cpu
