// What LOGITS_SELECT needs of a stretch of logits, written once over the vector vocabulary. Include after
// a simd_*.hpp of one ISA.
#pragma once

#include "backends/cpu/kernels/elementwise.hpp"

namespace nacelle::cpu {
namespace {

LogitSummary summarise(const float* x, std::uint32_t n, float* peaks) {
  float top = -__builtin_inff();
  for (std::uint32_t i = 0, peak = 0; i < n; i += kPeakColumns, ++peak) {
    const float value = largest_of(x + i, n - i < kPeakColumns ? n - i : kPeakColumns);
    if (peaks) peaks[peak] = value;
    if (value > top) top = value;
  }
  if (top == -__builtin_inff()) return {top, 0.0f};
  F total = zero();
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const F e = exp(sub(load_some(x + i, count), set(top)));
    total = add(total, count == kLanes ? e : keep_first(e, count, zero()));
  });
  return {top, sum(total)};
}

void divide_logits(const float* x, float by, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, div(load_some(x + i, count), set(by)), count);
  });
}

void mask_logits(const float* x, const std::uint32_t* mask, std::uint32_t n, float* out) {
  const F refused = set(-__builtin_inff());
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const std::uint32_t bits = mask[i / 32] >> i % 32 & ((1u << kLanes) - 1);
    store_some(out + i, choose(bits, load_some(x + i, count), refused), count);
  });
}

std::uint32_t find_at_least(const float* x, std::uint32_t n, float threshold, std::uint32_t* indices,
                            std::uint32_t capacity) {
  std::uint32_t found = 0;
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    std::uint32_t bits = at_least(load_some(x + i, count), set(threshold)) & ((1u << count) - 1);
    for (; bits && found < capacity; bits &= bits - 1)
      indices[found++] = i + static_cast<std::uint32_t>(__builtin_ctz(bits));
  });
  return found;
}

const VectorKernels kVectorKernels = {
    rms_norm,     layer_norm, normalise, softmax,       add_vectors, multiply_vectors,
    scale_vector, unary,      gated,     xielu,         rotate_half, rotate_interleaved,
    dot,          add_scaled, summarise, divide_logits, mask_logits, find_at_least,
};

}  // namespace
}  // namespace nacelle::cpu
