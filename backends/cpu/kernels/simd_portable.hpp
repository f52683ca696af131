// The vector vocabulary of the kernels, 4 lanes in the compiler's own vector type: any processor; see simd_avx512.hpp.
#pragma once

#include <cstdint>
#include <nacelle/half.hpp>

namespace nacelle::cpu {
namespace {

typedef float F __attribute__((vector_size(16)));
typedef std::int32_t I __attribute__((vector_size(16)));
typedef std::uint32_t U __attribute__((vector_size(16)));
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
constexpr bool kFused = false;  // fma() rounds twice

inline F zero() { return F{}; }
inline F set(float x) { return F{x, x, x, x}; }
inline I set_i(std::int32_t x) { return I{x, x, x, x}; }
inline F load(const float* p) {
  F x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, F x) { __builtin_memcpy(p, &x, sizeof x); }
inline F load_first(const float* p, std::uint32_t n) {
  F x{};
  __builtin_memcpy(&x, p, n * sizeof(float));
  return x;
}
inline void store_first(float* p, F x, std::uint32_t n) { __builtin_memcpy(p, &x, n * sizeof(float)); }
inline F keep_first(F x, std::uint32_t n, F other) {
  return (I{0, 1, 2, 3} < set_i(static_cast<std::int32_t>(n))) ? x : other;
}

inline F add(F a, F b) { return a + b; }
inline F sub(F a, F b) { return a - b; }
inline F mul(F a, F b) { return a * b; }
inline F div(F a, F b) { return a / b; }
inline F min(F a, F b) { return a < b ? a : b; }
inline F max(F a, F b) { return a > b ? a : b; }
inline F fma(F a, F b, F c) { return a * b + c; }
inline F abs(F a) { return (F)((I)a & set_i(0x7fffffff)); }
// Adding and taking away 1.5 * 2^23 leaves no fraction; larger values have none.
inline F round(F a) {
  const F magic = set(12582912.0f);
  return abs(a) < set(4194304.0f) ? (a + magic) - magic : a;
}
inline F less(F a, F b, F x, F y) { return a < b ? x : y; }
inline F scale_pow2(F a, F n) { return a * (F)((__builtin_convertvector(n, I) + 127) << 23); }
inline float sum(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float highest(F a) {
  const float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
  return x > y ? x : y;
}
// Lane i: of x[i].
inline F sum_of_each(const F (&x)[4]) { return F{sum(x[0]), sum(x[1]), sum(x[2]), sum(x[3])}; }
inline F highest_of_each(const F (&x)[4]) { return F{highest(x[0]), highest(x[1]), highest(x[2]), highest(x[3])}; }
inline std::uint32_t at_least(F a, F b) {
  const I yes = a >= b;
  return static_cast<std::uint32_t>(-yes[0] - 2 * yes[1] - 4 * yes[2] - 8 * yes[3]);
}
inline F choose(std::uint32_t bits, F a, F b) {
  const I lane{1, 2, 4, 8};
  return (set_i(static_cast<std::int32_t>(bits)) & lane) == lane ? a : b;
}

inline U load_u16(const std::uint16_t* p) { return U{p[0], p[1], p[2], p[3]}; }
inline void store_u16(std::uint16_t* p, U x) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<std::uint16_t>(x[i]);
}
// The exponent is moved by a multiplication, which also turns subnormals right; infinities and NaN are patched.
inline F load_f16(const std::uint16_t* p) {
  const U half = load_u16(p);
  const U magnitude = (half & 0x7fff) << 13;
  F value = (F)magnitude * set(0x1p112f);
  value = (I)(magnitude >= (0x7c00u << 13)) ? (F)(magnitude | 0x7f800000) : value;
  return (F)((U)value | ((half & 0x8000) << 16));
}
inline void store_f16(std::uint16_t* p, F x) {
  for (int i = 0; i < kLanes; ++i) p[i] = float_to_half(x[i]);
}
inline F load_bf16(const std::uint16_t* p) { return (F)(load_u16(p) << 16); }
inline void store_bf16(std::uint16_t* p, F x) {
  const U bits = (U)x;
  const U rounded = bits + 0x7fff + (bits >> 16 & 1);
  store_u16(p, ((I)(x != x) ? U{0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000} : rounded) >> 16);
}
inline void load_bf16_pairs(const std::uint8_t* p, F& even, F& odd) {
  U pairs;
  __builtin_memcpy(&pairs, p, sizeof pairs);
  even = (F)(pairs << 16);
  odd = (F)(pairs & 0xffff0000);
}
inline void store_i8(std::int8_t* p, F x) {
  const F whole = round(min(max(x, set(-128.0f)), set(127.0f)));
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<std::int8_t>(whole[i]);
}

inline F set_f16(const std::uint16_t* p) { return set(half_to_float(*p)); }
inline F load_i8(const std::int8_t* p) {
  return F{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
}
inline F load_nibbles(const std::uint8_t* p, bool high) {
  const U bytes{p[0], p[1], p[2], p[3]};
  return __builtin_convertvector((I)(high ? bytes >> 4 : bytes & 15), F);
}

}  // namespace
}  // namespace nacelle::cpu
