// The vector vocabulary of the kernels, 4 lanes of NEON as every armv8 processor has it; see simd_avx512.hpp.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace nacelle::cpu {
namespace {

using F = float32x4_t;
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
constexpr bool kFused = true;

inline F zero() { return vdupq_n_f32(0.0f); }
inline F set(float x) { return vdupq_n_f32(x); }
inline F load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, F x) { vst1q_f32(p, x); }
inline uint32x4_t first(std::uint32_t n) {
  static constexpr std::uint32_t kLane[] = {0, 1, 2, 3};
  return vcgtq_u32(vdupq_n_u32(n), vld1q_u32(kLane));
}
inline F load_first(const float* p, std::uint32_t n) {
  float lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, n * sizeof(float));
  return load(lanes);
}
inline void store_first(float* p, F x, std::uint32_t n) {
  float lanes[kLanes];
  store(lanes, x);
  __builtin_memcpy(p, lanes, n * sizeof(float));
}
inline F keep_first(F x, std::uint32_t n, F other) { return vbslq_f32(first(n), x, other); }

inline F add(F a, F b) { return vaddq_f32(a, b); }
inline F sub(F a, F b) { return vsubq_f32(a, b); }
inline F mul(F a, F b) { return vmulq_f32(a, b); }
inline F div(F a, F b) { return vdivq_f32(a, b); }
// Of a number and a NaN, the number.
inline F min(F a, F b) { return vminnmq_f32(a, b); }
inline F max(F a, F b) { return vmaxnmq_f32(a, b); }
inline F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
inline F abs(F a) { return vabsq_f32(a); }
inline F round(F a) { return vrndnq_f32(a); }
inline F less(F a, F b, F x, F y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
inline F scale_pow2(F a, F n) {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}
inline float sum(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float highest(F a) { return vmaxnmvq_f32(a); }
// Lane i: of x[i].
inline F sum_of_each(const F (&x)[4]) { return F{sum(x[0]), sum(x[1]), sum(x[2]), sum(x[3])}; }
inline F highest_of_each(const F (&x)[4]) { return F{highest(x[0]), highest(x[1]), highest(x[2]), highest(x[3])}; }
inline std::uint32_t at_least(F a, F b) {
  static constexpr std::uint32_t kBit[] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vcgeq_f32(a, b), vld1q_u32(kBit)));
}
inline F choose(std::uint32_t bits, F a, F b) {
  static constexpr std::uint32_t kBit[] = {1, 2, 4, 8};
  return vbslq_f32(vtstq_u32(vdupq_n_u32(bits), vld1q_u32(kBit)), a, b);
}

inline F load_f16(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline void store_f16(std::uint16_t* p, F x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
inline F load_bf16(const std::uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
inline void store_bf16(std::uint16_t* p, F x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, vdupq_n_u32(0x7fc00000)), 16));
}
inline void load_bf16_pairs(const std::uint8_t* p, F& even, F& odd) {
  const uint32x4_t pairs = vreinterpretq_u32_u8(vld1q_u8(p));
  even = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
  odd = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
}
inline void store_i8(std::int8_t* p, F x) {
  const int16x4_t half = vqmovn_s32(vcvtnq_s32_f32(x));
  const std::int32_t bytes = vget_lane_s32(vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(half, half))), 0);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}

inline F set_f16(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(p))); }
// kLanes bytes, in the low half.
inline uint8x8_t load_bytes(const void* p) {
  std::uint32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return vreinterpret_u8_u32(vdup_n_u32(bytes));
}
inline F load_i8(const std::int8_t* p) {
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_bytes(p))))));
}
inline F load_nibbles(const std::uint8_t* p, bool high) {
  const uint8x8_t bytes = load_bytes(p);
  const uint8x8_t nibbles = high ? vshr_n_u8(bytes, 4) : vand_u8(bytes, vdup_n_u8(15));
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(nibbles))));
}

}  // namespace
}  // namespace nacelle::cpu
