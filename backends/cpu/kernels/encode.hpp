// Encodings of activation rows, written once over the vector vocabulary. Include after a simd_*.hpp of one ISA.
#pragma once

#include <type_traits>

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

// kCount blocks of 32 columns to integers in [-127, 127]: the scale is the largest magnitude over 127, NaN where one
// is infinite or NaN. Sets the scales, and the sums of the kSums parts of each block as whole numbers. The count is a
// constant so that every sum stays in a register.
template <int kSums, std::uint32_t kCount>
inline void quantise_blocks(const float* x, std::int8_t* values, float (&scales)[kLanes],
                            float (&sums)[kSums][kLanes]) {
  constexpr std::uint32_t kPart = kQuantBlock / kSums;
  F largest[kTogether] = {}, totals[kSums][kTogether] = {};
#pragma GCC unroll 4
  for (std::uint32_t b = 0; b < kCount; ++b)
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < kQuantBlock; i += kLanes)
      largest[b] = max(largest[b], abs(load(x + b * kQuantBlock + i)));
  const F peaks = highest_of_each(largest);
  // Below this the reciprocal overflows; such a block is zero for every purpose.
  const F least = set(1e-30f);
  float inverses[kLanes];
  store(inverses, less(least, peaks, div(set(127.0f), peaks), zero()));
  F scale = less(least, peaks, div(peaks, set(127.0f)), zero());
#pragma GCC unroll 4
  for (std::uint32_t b = 0; b < kCount; ++b) {
    const F inverse = set(inverses[b]);
#pragma GCC unroll 2
    for (std::uint32_t part = 0; part < kSums; ++part)
#pragma GCC unroll 8
      for (std::uint32_t i = part * kPart; i < (part + 1) * kPart; i += kLanes) {
        const F whole = round(mul(load(x + b * kQuantBlock + i), inverse));
        store_i8(values + b * kQuantBlock + i, whole);
        totals[part][b] = add(totals[part][b], whole);  // whole numbers: exact in any order
      }
  }
#pragma GCC unroll 2
  for (int part = 0; part < kSums; ++part) {
    const F sum = sum_of_each(totals[part]);
    scale = fma(sum, zero(), scale);  // the largest magnitude may have missed a NaN; the sum has not
    store(sums[part], less(abs(sum), set(1e5f), sum, zero()));  // so that it becomes an integer
  }
  store(scales, scale);
}

// Blocks [b, b + kCount) of a row, whose values begin at x.
template <Extra kExtra, std::int32_t kOffset, std::uint32_t kCount>
inline void encode_blocks(const float* x, std::uint32_t b, std::int8_t* values, float* scales, std::int32_t* extra) {
  constexpr int kSums = kExtra == Extra::kHalfStart || kExtra == Extra::kHalfSums ? 2 : 1;
  float found_scales[kLanes], found_sums[kSums][kLanes];
  quantise_blocks<kSums, kCount>(x, values + std::uint64_t{b} * kQuantBlock, found_scales, found_sums);
  scales += b;
#pragma GCC unroll 4
  for (std::uint32_t i = 0; i < kCount; ++i) {
    std::int32_t sums[kSums];
    for (int part = 0; part < kSums; ++part) sums[part] = static_cast<std::int32_t>(found_sums[part][i]);
    scales[i] = found_scales[i];
    if constexpr (kExtra == Extra::kStart) extra[b + i] = -kOffset * sums[0];
    if constexpr (kExtra == Extra::kTail)
      reinterpret_cast<float*>(extra)[b + i] = -found_scales[i] * static_cast<float>(sums[0]);
    if constexpr (kExtra == Extra::kHalfSums) extra[b + i] = (-sums[0] & 0xffff) | -sums[1] * 65536;
    if constexpr (kExtra == Extra::kHalfStart) {
      extra[2 * (b + i)] = -kOffset * sums[0];
      extra[2 * (b + i) + 1] = -kOffset * sums[1];
    }
  }
}

template <Extra kExtra, std::int32_t kOffset>
void encode_int8(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end, std::uint8_t* row) {
  const std::uint32_t blocks = columns / kQuantBlock;
  auto* values = reinterpret_cast<std::int8_t*>(row);
  auto* scales = reinterpret_cast<float*>(row + columns);
  auto* extra = reinterpret_cast<std::int32_t*>(scales + blocks);
  std::uint32_t b = begin;
  const auto take = [&]<std::uint32_t kCount>(std::integral_constant<std::uint32_t, kCount>) {
    for (; end - b >= kCount; b += kCount, x += kCount * kQuantBlock)
      encode_blocks<kExtra, kOffset, kCount>(x, b, values, scales, extra);
  };
  take(std::integral_constant<std::uint32_t, kTogether>{});
  take(std::integral_constant<std::uint32_t, kTogether - 1>{});  // what a tile of 96 columns has
  take(std::integral_constant<std::uint32_t, 1>{});
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
