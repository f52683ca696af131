// Functions made of the vector vocabulary, and the loop over a stretch of floats. Include after one simd_*.hpp.
#pragma once

namespace nacelle::cpu {
namespace {

// e^x within 2 ulp; 0 below -87.3, the largest finite value's neighbourhood above 88.
// Cody-Waite reduction, then the minimax polynomial of the Cephes library.
inline F exp(F x) {
  const F clamped = min(max(x, set(-87.3f)), set(88.0f));
  const F n = round(mul(clamped, set(1.44269504f)));
  F r = fma(n, set(-0.693359375f), clamped);
  r = fma(n, set(2.12194440e-4f), r);
  F p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set(1.0f)));
  return less(x, set(-87.3f), zero(), scale_pow2(p, n));
}

inline F sigmoid(F x) { return div(set(1.0f), add(set(1.0f), exp(sub(zero(), x)))); }

// Near 0 the odd polynomial of Cephes, which keeps small results exact; else by way of e^2x.
inline F tanh(F x) {
  const F magnitude = abs(x), square = mul(x, x);
  F p = set(-5.70498872745e-3f);
  p = fma(p, square, set(2.06390887954e-2f));
  p = fma(p, square, set(-5.37397155531e-2f));
  p = fma(p, square, set(1.33314422036e-1f));
  p = fma(p, square, set(-3.33332819422e-1f));
  const F small = fma(mul(p, square), x, x);
  const F e = exp(add(magnitude, magnitude));
  const F large = sub(set(1.0f), div(set(2.0f), add(e, set(1.0f))));
  return less(magnitude, set(0.625f), small, less(x, zero(), sub(zero(), large), large));
}

inline float exp1(float x) {
  float out;
  store_first(&out, exp(set(x)), 1);
  return out;
}

// body(offset, count) for each vector of [0, n); count is kLanes except for the last.
template <class Body>
inline void for_vectors(std::uint32_t n, Body body) {
  std::uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, static_cast<std::uint32_t>(kLanes));
  if (i < n) body(i, n - i);
}
inline F load_some(const float* p, std::uint32_t n) { return n == kLanes ? load(p) : load_first(p, n); }
inline void store_some(float* p, F x, std::uint32_t n) {
  if (n == kLanes)
    store(p, x);
  else
    store_first(p, x, n);
}

}  // namespace
}  // namespace nacelle::cpu
