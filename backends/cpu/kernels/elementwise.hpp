// Norms, activations, rotations and sums over rows, written once over the vector vocabulary. Include after
// simd_math.hpp.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/kernels.hpp"
#include "backends/cpu/kernels/simd_math.hpp"

namespace nacelle::cpu {
namespace {

inline F sum_of_squares(const float* x, std::uint32_t n, float centre) {
  F total = zero();
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const F d = sub(load_some(x + i, count), set(centre));
    total = fma(d, count == kLanes ? d : keep_first(d, count, zero()), total);
  });
  return total;
}

void rms_norm(const float* x, const float* weight, float offset, float epsilon, std::uint32_t n, float* out) {
  const float mean = sum(sum_of_squares(x, n, 0.0f)) / static_cast<float>(n);
  const F scale = set(1.0f / __builtin_sqrtf(mean + epsilon));
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    F y = mul(load_some(x + i, count), scale);
    if (weight) y = mul(y, add(load_some(weight + i, count), set(offset)));
    store_some(out + i, y, count);
  });
}

void layer_norm(const float* x, const float* weight, const float* bias, float offset, float epsilon, std::uint32_t n,
                float* out) {
  F total = zero();
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) { total = add(total, load_some(x + i, count)); });
  const float mean = sum(total) / static_cast<float>(n);
  const float variance = sum(sum_of_squares(x, n, mean)) / static_cast<float>(n);
  const F scale = set(1.0f / __builtin_sqrtf(variance + epsilon));
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    F y = mul(sub(load_some(x + i, count), set(mean)), scale);
    if (weight) y = mul(y, add(load_some(weight + i, count), set(offset)));
    if (bias) y = add(y, load_some(bias + i, count));
    store_some(out + i, y, count);
  });
}

void normalise(const float* x, std::uint32_t n, float* out) {
  const float length = __builtin_sqrtf(sum(sum_of_squares(x, n, 0.0f)));
  const F scale = set(length > 0.0f ? 1.0f / length : 0.0f);
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, mul(load_some(x + i, count), scale), count);
  });
}

// NaN counts as nothing: both x86 and the portable max give their second operand then.
inline float largest_of(const float* x, std::uint32_t n) {
  const F lowest = set(-__builtin_inff());
  F top = lowest;
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const F value = load_some(x + i, count);
    top = max(count == kLanes ? value : keep_first(value, count, lowest), top);
  });
  return highest(top);
}

void softmax(const float* x, std::uint32_t n, float* out) {
  const F top = set(largest_of(x, n));
  F total = zero();
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const F e = exp(sub(load_some(x + i, count), top));
    total = add(total, count == kLanes ? e : keep_first(e, count, zero()));
    store_some(out + i, e, count);
  });
  const F scale = set(1.0f / sum(total));
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, mul(load_some(out + i, count), scale), count);
  });
}

void add_vectors(const float* a, const float* b, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, add(load_some(a + i, count), load_some(b + i, count)), count);
  });
}

void multiply_vectors(const float* a, const float* b, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, mul(load_some(a + i, count), load_some(b + i, count)), count);
  });
}

void scale_vector(const float* x, float scale, float shift, float soft_cap, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    F y = fma(load_some(x + i, count), set(scale), set(shift));
    if (soft_cap != 0.0f) y = mul(set(soft_cap), tanh(div(y, set(soft_cap))));
    store_some(out + i, y, count);
  });
}

inline F erf_lanes(F x) {
  float lanes[kLanes];
  store(lanes, x);
  for (float& lane : lanes) lane = __builtin_erff(lane);
  return load(lanes);
}

inline F activate(std::uint32_t activation, F x) {
  const F half = mul(set(0.5f), x);
  switch (activation) {
    case NACELLE_ACT_SILU: return mul(x, sigmoid(x));
    case NACELLE_ACT_GELU_ERF: return fma(half, erf_lanes(mul(x, set(0.70710678f))), half);
    case NACELLE_ACT_GELU_TANH: {
      const F inner = mul(set(0.79788456f), fma(mul(set(0.044715f), mul(x, x)), x, x));
      return fma(half, tanh(inner), half);
    }
    case NACELLE_ACT_GELU_QUICK: return mul(x, sigmoid(mul(set(1.702f), x)));
    case NACELLE_ACT_RELU: return max(x, zero());
    case NACELLE_ACT_TANH: return tanh(x);
    default: return sigmoid(x);
  }
}

void unary(std::uint32_t activation, const float* x, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, activate(activation, load_some(x + i, count)), count);
  });
}

void gated(const GatedAttributes& a, const float* gate, const float* up, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    F g = load_some(gate + i, count), u = load_some(up + i, count);
    if (a.clamp != 0.0f) {
      g = min(g, set(a.clamp));
      u = max(min(u, set(a.clamp)), set(-a.clamp));
    }
    u = add(u, set(a.up_offset));
    const F y = a.activation == NACELLE_ACT_SILU ? mul(g, sigmoid(mul(set(a.alpha), g))) : activate(a.activation, g);
    store_some(out + i, mul(y, u), count);
  });
}

// e^x - 1 - x for x up to 0: near 0, where its parts cancel, by the series x^2 / 2! + x^3 / 3! + ...
inline F exp_beyond_line(F x) {
  F series = set(2.7557319e-6f);
  for (const float term :
       {2.4801587e-5f, 1.9841270e-4f, 1.3888889e-3f, 8.3333333e-3f, 4.1666667e-2f, 1.6666667e-1f, 0.5f})
    series = fma(series, x, set(term));
  const F plain = sub(sub(exp(x), set(1.0f)), x);
  return less(x, set(-0.5f), plain, mul(series, mul(x, x)));
}

void xielu(const XieluAttributes& a, const float* x, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    const F at = load_some(x + i, count), line = mul(set(a.slope), at);
    const F cut = min(at, set(a.epsilon)), bent = add(exp_beyond_line(cut), sub(cut, at));
    const F above = fma(mul(set(a.rise), at), at, line), below = fma(set(a.fall), bent, line);
    store_some(out + i, less(zero(), at, above, below), count);
  });
}

void rotate_half(const float* x, const float* cos, const float* sin, std::uint32_t pairs, float* out) {
  for_vectors(pairs, [&](std::uint32_t i, std::uint32_t count) {
    const F a = load_some(x + i, count), b = load_some(x + pairs + i, count);
    const F c = load_some(cos + i, count), s = load_some(sin + i, count);
    store_some(out + i, sub(mul(a, c), mul(b, s)), count);
    store_some(out + pairs + i, add(mul(b, c), mul(a, s)), count);
  });
}

void rotate_interleaved(const float* x, const float* cos, const float* sin, std::uint32_t pairs, float* out) {
  for (std::uint32_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    out[2 * i] = a * cos[i] - b * sin[i];
    out[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

float dot(const float* a, const float* b, std::uint32_t n) {
  F total = zero();
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    total = fma(load_some(a + i, count), load_some(b + i, count), total);
  });
  return sum(total);
}

void add_scaled(const float* x, float scale, std::uint32_t n, float* out) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(out + i, fma(load_some(x + i, count), set(scale), load_some(out + i, count)), count);
  });
}

}  // namespace
}  // namespace nacelle::cpu
