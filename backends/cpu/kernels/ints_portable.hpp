// The integer half of the vector vocabulary in the compiler's own vectors: any processor; see ints_avx512.hpp.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {
namespace {

typedef std::uint8_t Bytes __attribute__((vector_size(16)));
typedef std::int8_t SignedBytes __attribute__((vector_size(16)));
typedef std::uint16_t Words __attribute__((vector_size(16)));
typedef std::int16_t Wide __attribute__((vector_size(32)));

inline I load_i(const std::uint8_t* p) {
  I x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline I set_i32(std::int32_t x) { return I{x, x, x, x}; }
inline I set_i8(std::int8_t x) { return (I)(SignedBytes{} + x); }
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
inline I mul_i(I a, I b) { return a * b; }
template <int kBits>
inline I shift_right(I a) {
  if constexpr (kBits > 0) return (I)((Words)a >> kBits);
  if constexpr (kBits < 0) return (I)((Words)a << -kBits);
  return a;
}
inline I look_up(I codes, const std::uint8_t* table) {
  Bytes entries;
  __builtin_memcpy(&entries, table, sizeof entries);
  return (I)__builtin_shuffle(entries, (Bytes)codes);
}
inline F to_f(I a) { return __builtin_convertvector(a, F); }
inline I load_signed(const std::uint8_t* p) {
  const auto* x = reinterpret_cast<const std::int8_t*>(p);
  return I{x[0], x[1], x[2], x[3]};
}
inline I load_unsigned(const std::uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
template <int kBits>
inline I shift_right_i32(I a) {
  return (I)((U)a >> kBits);
}
template <int kBits>
inline I shift_left_i32(I a) {
  return (I)((U)a << kBits);
}
inline I dot_pairs(I a, I b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
inline F as_f(I a) { return (F)a; }

constexpr bool kUnsignedBytes = true;
template <int kBits>
constexpr int kDotQuads = 1;
template <int kBits>
inline I dot(I sum, const I (&codes)[1], const std::uint8_t* x) {
  const I values = set_quad(x);
  for (int byte = 0; byte < 4; ++byte)
    sum += (I)((U)codes[0] << (24 - 8 * byte) >> 24) * (values << (24 - 8 * byte) >> 24);
  return sum;
}

}  // namespace
}  // namespace nacelle::cpu
