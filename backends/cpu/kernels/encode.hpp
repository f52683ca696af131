// Encodings of activation rows, written once over the vector vocabulary. Include after a simd_*.hpp of one ISA.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"
#include "backends/cpu/kernels/simd_math.hpp"

namespace nacelle::cpu {
namespace {

// What the kernel of a format needs to know of a block's sum besides its values (the third part of an encoded row).
enum class Extra {
  kStart,      // i32: -offset * sum, the accumulator's first value: undoes the offset of unsigned weights
  kHalfStart,  // the same for columns 0-15 and 16-31
  kTail,       // f32: -scale * sum, to be multiplied by the weights' min
  kHalfSums,   // i16: minus the sums of columns 0-15 and 16-31, to be multiplied by their mins
};

// 32 columns to integers in [-127, 127]: the scale is the largest magnitude over 127. Sets the sums of its kSums parts.
template <int kSums>
inline float quantise_block(const float* x, std::int8_t* values, std::int32_t (&sums)[kSums]) {
  constexpr std::uint32_t kPart = kQuantBlock / kSums;
  F largest = zero();
  for (std::uint32_t i = 0; i < kQuantBlock; i += kLanes) largest = max(largest, abs(load(x + i)));
  const float peak = highest(largest);
  // Below this the reciprocal overflows; such a block is zero for every purpose.
  const float inverse = peak > 1e-30f ? 127.0f / peak : 0.0f;
  for (std::uint32_t part = 0; part < kSums; ++part) {
    F total = zero();  // whole numbers: exact in any order
    for (std::uint32_t i = part * kPart; i < (part + 1) * kPart; i += kLanes) {
      const F whole = round(mul(load(x + i), set(inverse)));
      store_i8(values + i, whole);
      total = add(total, whole);
    }
    sums[part] = static_cast<std::int32_t>(sum(total));
  }
  return peak > 1e-30f ? peak / 127.0f : 0.0f;
}

template <Extra kExtra, std::int32_t kOffset>
void encode_int8(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end, std::uint8_t* row) {
  constexpr int kSums = kExtra == Extra::kHalfStart || kExtra == Extra::kHalfSums ? 2 : 1;
  const std::uint32_t blocks = columns / kQuantBlock;
  auto* values = reinterpret_cast<std::int8_t*>(row);
  auto* scales = reinterpret_cast<float*>(row + columns);
  auto* extra = reinterpret_cast<std::int32_t*>(scales + blocks);
  for (std::uint32_t b = begin; b < end; ++b) {
    std::int32_t sums[kSums];
    scales[b] = quantise_block(x + (b - begin) * kQuantBlock, values + b * kQuantBlock, sums);
    if constexpr (kExtra == Extra::kStart) extra[b] = -kOffset * sums[0];
    if constexpr (kExtra == Extra::kTail) reinterpret_cast<float*>(extra)[b] = -scales[b] * static_cast<float>(sums[0]);
    if constexpr (kExtra == Extra::kHalfSums) extra[b] = (-sums[0] & 0xffff) | -sums[1] * 65536;
    if constexpr (kExtra == Extra::kHalfStart) {
      extra[2 * b] = -kOffset * sums[0];
      extra[2 * b + 1] = -kOffset * sums[1];
    }
  }
}

// bf16, to nearest even; an odd last column gets a zero beside it.
inline void encode_bf16(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end,
                        std::uint8_t* row) {
  std::uint16_t* values = reinterpret_cast<std::uint16_t*>(row);
  const std::uint32_t last = end * kQuantBlock < columns ? end * kQuantBlock : columns;
  for (std::uint32_t i = begin * kQuantBlock; i < last; i += kLanes, x += kLanes) {
    const std::uint32_t count = last - i < kLanes ? last - i : kLanes;
    store_bf16(values + i, load_some(x, count));
  }
}

}  // namespace
}  // namespace nacelle::cpu
