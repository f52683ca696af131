// Element by element: y = op(a, b), with b like a, one row for all (b_stride 0), or absent.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint KIND = 0;
const uint kAdd = 0, kMul = 1, kScale = 2, kUnary = 3, kGated = 4;
layout(constant_id = 2) const uint ACTIVATION = 1;  // NACELLE_ACT_*
layout(push_constant) uniform Push {
  Floats a, b, y;
  uint width, a_stride, b_stride, y_stride;
  float p0, p1, p2;  // scale: factor, shift, soft cap; gated: clamp, alpha, up offset
};

float sigmoid(float x) { return 1 / (1 + exp(-x)); }
// Of exponentials that cannot overflow.
float tanh_of(float x) {
  const float t = exp(-2 * abs(x));
  return sign(x) * (1 - t) / (1 + t);
}
// Abramowitz and Stegun, 7.1.26: within 1.5e-7.
float erf_of(float x) {
  const float t = 1 / (1 + 0.3275911 * abs(x));
  const float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1 - p * exp(-x * x));
}

float activate(float x, float alpha) {
  switch (ACTIVATION) {
    case 1: return x * sigmoid(alpha * x);
    case 2: return 0.5 * x * (1 + erf_of(x * 0.70710678));
    case 3: return 0.5 * x * (1 + tanh_of(0.79788456 * (x + 0.044715 * x * x * x)));
    case 4: return x * sigmoid(1.702 * x);
    case 5: return max(x, 0);
    case 6: return tanh_of(x);
    default: return sigmoid(x);
  }
}

void main() {
  const uint row = gl_WorkGroupID.y, step = gl_NumWorkGroups.x * kThreads;
  for (uint i = gl_GlobalInvocationID.x; i < width; i += step) {
    const float x = a.at[row * a_stride + i];
    float result = x;
    if (KIND == kAdd) result = x + b.at[row * b_stride + i];
    if (KIND == kMul) result = x * b.at[row * b_stride + i];
    if (KIND == kScale) {
      result = x * p0 + p1;
      if (p2 != 0) result = p2 * tanh_of(result / p2);
    }
    if (KIND == kUnary) result = activate(x, 1);
    if (KIND == kGated) {
      const float up = b.at[row * b_stride + i];
      result = activate(p0 > 0 ? min(x, p0) : x, p1) * ((p0 > 0 ? clamp(up, -p0, p0) : up) + p2);
    }
    y.at[row * y_stride + i] = result;
  }
}
