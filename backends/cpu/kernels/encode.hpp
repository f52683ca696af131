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

// Blocks that are encoded together: what is known of each is found in one vector.
constexpr std::uint32_t kTogether = 4;

// The scale of a block of activations: the least, or the least that is a power of two, by which its values become
// integers in [-127, 127]; at least 2^-100, and NaN above 2^100: its products with weights' scales are neither
// subnormal nor infinite.
constexpr float kLeastScale = 0x1p-100f, kMostScale = 0x1p100f;

// `count` blocks of 32 columns to integers in [-127, 127] times a scale. Sets the scales, NaN for what is not finite,
// and the sums of the kSums parts of each block as whole numbers, of what is not finite 0.
template <bool kPow2, int kSums>
inline void quantise_blocks(const float* x, std::uint32_t count, std::int8_t* values, float (&scales)[kLanes],
                            float (&sums)[kSums][kLanes]) {
  constexpr std::uint32_t kPart = kQuantBlock / kSums;
  F largest[kTogether] = {}, totals[kSums][kTogether] = {};
  for (std::uint32_t b = 0; b < count; ++b)
    for (std::uint32_t i = 0; i < kQuantBlock; i += kLanes)
      largest[b] = max(largest[b], abs(load(x + b * kQuantBlock + i)));
  const F least = max(mul(highest_of_each(largest), set(1.0f / 127.0f)), set(kLeastScale));
  const F rounded = kPow2 ? pow2_from(least) : least;
  float inverses[kLanes];
  store(inverses, div(set(1.0f), rounded));
  for (std::uint32_t b = 0; b < count; ++b, x += kQuantBlock, values += kQuantBlock) {
    const F inverse = set(inverses[b]);
    for (std::uint32_t part = 0; part < kSums; ++part)
      for (std::uint32_t i = part * kPart; i < (part + 1) * kPart; i += kLanes) {
        const F whole = round(mul(load(x + i), inverse));
        store_i8(values + i, whole);
        totals[part][b] = add(totals[part][b], whole);  // whole numbers: exact in any order
      }
  }
  F scale = less(set(kMostScale), least, set(__builtin_nanf("")), rounded);
  for (int part = 0; part < kSums; ++part) {
    const F sum = sum_of_each(totals[part]);
    scale = fma(sum, zero(), scale);
    store(sums[part], less(abs(sum), set(1e5f), sum, zero()));
  }
  store(scales, scale);
}

template <Extra kExtra, std::int32_t kOffset, bool kPow2>
void encode_int8(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end, std::uint8_t* row) {
  constexpr int kSums = kExtra == Extra::kHalfStart || kExtra == Extra::kHalfSums ? 2 : 1;
  const std::uint32_t blocks = columns / kQuantBlock;
  auto* values = reinterpret_cast<std::int8_t*>(row);
  auto* scales = reinterpret_cast<float*>(row + columns);
  auto* extra = reinterpret_cast<std::int32_t*>(scales + blocks);
  for (std::uint32_t first = begin; first < end; first += kTogether, x += kTogether * kQuantBlock) {
    float found_scales[kLanes], found_sums[kSums][kLanes];
    const std::uint32_t count = end - first < kTogether ? end - first : kTogether;
    quantise_blocks<kPow2>(x, count, values + first * kQuantBlock, found_scales, found_sums);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t b = first + i;
      std::int32_t sums[kSums];
      for (int part = 0; part < kSums; ++part) sums[part] = static_cast<std::int32_t>(found_sums[part][i]);
      scales[b] = found_scales[i];
      if constexpr (kExtra == Extra::kStart) extra[b] = -kOffset * sums[0];
      if constexpr (kExtra == Extra::kTail)
        reinterpret_cast<float*>(extra)[b] = -scales[b] * static_cast<float>(sums[0]);
      if constexpr (kExtra == Extra::kHalfSums) extra[b] = (-sums[0] & 0xffff) | -sums[1] * 65536;
      if constexpr (kExtra == Extra::kHalfStart) {
        extra[2 * b] = -kOffset * sums[0];
        extra[2 * b + 1] = -kOffset * sums[1];
      }
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
