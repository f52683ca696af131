// Encodings of activation rows, written once over the vector vocabulary. Include after a simd_*.hpp of one ISA.
#pragma once

#include "backends/cpu/kernels/kernels.hpp"
#include "backends/cpu/kernels/simd_math.hpp"

namespace nacelle::cpu {
namespace {

// One block of 32 columns to integers in [-127, 127]: the scale is the largest magnitude over 127. Returns their sum.
template <class Integer, void (*kStore)(Integer*, F)>
inline std::int32_t quantise_block(const float* x, Integer* values, float* scale) {
  F largest = zero();
  for (std::uint32_t i = 0; i < kQuantBlock; i += kLanes) largest = max(largest, abs(load(x + i)));
  const float peak = highest(largest);
  // Below this the reciprocal overflows; such a block is zero for every purpose.
  const float inverse = peak > 1e-30f ? 127.0f / peak : 0.0f;
  *scale = peak > 1e-30f ? peak / 127.0f : 0.0f;
  for (std::uint32_t i = 0; i < kQuantBlock; i += kLanes) kStore(values + i, mul(load(x + i), set(inverse)));
  std::int32_t total = 0;
  for (std::uint32_t i = 0; i < kQuantBlock; ++i) total += values[i];
  return total;
}

// `kOffset` was added to the weights so that they are unsigned: 128 for Q8_0, 8 for Q4_0.
template <class Integer, void (*kStore)(Integer*, F), std::int32_t kOffset>
void encode_integers(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end, std::uint8_t* row) {
  const std::uint32_t blocks = columns / kQuantBlock;
  Integer* values = reinterpret_cast<Integer*>(row);
  float* scales = reinterpret_cast<float*>(row + columns * sizeof(Integer));
  std::int32_t* starts = reinterpret_cast<std::int32_t*>(scales + blocks);
  for (std::uint32_t b = begin; b < end; ++b)
    starts[b] = -kOffset * quantise_block<Integer, kStore>(x + b * kQuantBlock, values + b * kQuantBlock, scales + b);
}

// bf16, to nearest even; an odd last column gets a zero beside it.
inline void encode_bf16(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end,
                        std::uint8_t* row) {
  std::uint16_t* values = reinterpret_cast<std::uint16_t*>(row);
  const std::uint32_t last = end * kQuantBlock < columns ? end * kQuantBlock : columns;
  for (std::uint32_t i = begin * kQuantBlock; i < last; i += kLanes) {
    const std::uint32_t count = last - i < kLanes ? last - i : kLanes;
    store_bf16(values + i, load_some(x + i, count));
  }
}

}  // namespace
}  // namespace nacelle::cpu
