// Element by element: y = op(a, b), with b like a, one row for all (b_stride 0), or absent.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint KIND = 0;
const uint kAdd = 0, kMul = 1, kScale = 2, kUnary = 3, kGated = 4, kXielu = 5;
layout(constant_id = 2) const uint ACTIVATION = 1;  // NACELLE_ACT_*
#include "activation.glsl"
layout(push_constant) uniform Push {
  Floats a, b, y;
  uint width, a_stride, b_stride, y_stride;
  float p0, p1, p2;  // scale: factor, shift, soft cap; gated: clamp, alpha, up offset
};

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
    if (KIND == kXielu) result = xielu(x, b.at[0], b.at[1], b.at[2], b.at[3]);
    if (KIND == kGated) {
      const float up = b.at[row * b_stride + i];
      result = activate(p0 > 0 ? min(x, p0) : x, p1) * ((p0 > 0 ? clamp(up, -p0, p0) : up) + p2);
    }
    y.at[row * y_stride + i] = result;
  }
}
