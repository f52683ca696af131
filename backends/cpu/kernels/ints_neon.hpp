// The integer half of the vector vocabulary, NEON; see ints_avx512.hpp. By the unit's flags the dot product is the
// baseline's, that of armv8.2 (dotprod), or that of armv8.6 (i8mm) for two rows at once.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {
namespace {

using I = int32x4_t;

inline int8x16_t bytes_of(I a) { return vreinterpretq_s8_s32(a); }
inline uint16x8_t words_of(I a) { return vreinterpretq_u16_s32(a); }
inline I load_i(const std::uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
inline I set_i32(std::int32_t x) { return vdupq_n_s32(x); }
inline I set_i8(std::int8_t x) { return vreinterpretq_s32_s8(vdupq_n_s8(x)); }
inline I set_quad(const std::uint8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, 4);
  return vdupq_n_s32(quad);
}
inline F set_word(const std::uint8_t* p) { return vreinterpretq_f32_s32(set_quad(p)); }
inline I and_i(I a, I b) { return vandq_s32(a, b); }
inline I or_i(I a, I b) { return vorrq_s32(a, b); }
inline I xor_i(I a, I b) { return veorq_s32(a, b); }
inline I add_i(I a, I b) { return vaddq_s32(a, b); }
inline I mul_i(I a, I b) { return vmulq_s32(a, b); }
template <int kBits>
inline I shift_right(I a) {
  if constexpr (kBits > 0) return vreinterpretq_s32_u16(vshrq_n_u16(words_of(a), kBits));
  if constexpr (kBits < 0) return vreinterpretq_s32_u16(vshlq_n_u16(words_of(a), -kBits));
  return a;
}
inline I look_up(I codes, const std::uint8_t* table) {
  return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_s32(codes)));
}
inline F to_f(I a) { return vcvtq_f32_s32(a); }
inline I load_signed(const std::uint8_t* p) {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_bytes(p)))));
}
inline I load_unsigned(const std::uint8_t* p) {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_bytes(p)))));
}
template <int kBits>
inline I shift_right_i32(I a) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), kBits));
}
template <int kBits>
inline I shift_left_i32(I a) {
  return vshlq_n_s32(a, kBits);
}
inline I dot_pairs(I a, I b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
inline F as_f(I a) { return vreinterpretq_f32_s32(a); }

// Both operands are signed; codes of up to 7 bits are as well.
constexpr bool kUnsignedBytes = false;
#if defined(__ARM_FEATURE_DOTPROD)
template <int kBits>
constexpr int kDotQuads = 1;
template <int kBits>
inline I dot(I sum, const I (&codes)[1], const std::uint8_t* x) {
  return vdotq_s32(sum, bytes_of(codes[0]), bytes_of(set_quad(x)));
}
#else
// Products are summed in 16 bits: four of 6 bits with an int8 fit, and two of signed bytes, |value| <= 128 times
// |x| <= 127.
template <int kBits>
constexpr int kDotQuads = kBits <= 6 ? 4 : 2;
template <int kBits>
inline I dot(I sum, const I (&codes)[kDotQuads<kBits>], const std::uint8_t* x) {
  int16x8_t low = vdupq_n_s16(0), high = low;
  for (int q = 0; q < kDotQuads<kBits>; ++q) {
    const int8x16_t value = bytes_of(codes[q]), by = bytes_of(set_quad(x + 4 * q));
    low = vmlal_s8(low, vget_low_s8(value), vget_low_s8(by));
    high = vmlal_high_s8(high, value, by);
  }
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
#endif

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Sums of two rows of x, two lanes a vector: [lane 0: row 0, row 1; lane 1: row 0, row 1], then lanes 2 and 3.
struct RowPair {
  I low, high;
};
inline RowPair start_pair(I row0, I row1) {
  const I both = vzip1q_s32(row0, row1);  // of equal lanes
  return {both, both};
}
// Eight columns: the quads at x0 and x1, and the ones after them.
inline void dot_pair(RowPair& sums, I quad, I next, const std::uint8_t* x0, const std::uint8_t* x1) {
  const int8x16_t x = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(x0), vld1_u8(x1)));
  sums.low = vmmlaq_s32(sums.low, bytes_of(vzip1q_s32(quad, next)), x);
  sums.high = vmmlaq_s32(sums.high, bytes_of(vzip2q_s32(quad, next)), x);
}
inline I row0(const RowPair& sums) { return vuzp1q_s32(sums.low, sums.high); }
inline I row1(const RowPair& sums) { return vuzp2q_s32(sums.low, sums.high); }
#endif

}  // namespace
}  // namespace nacelle::cpu
