// z[r] = sum of weights[r][i] * slice i of y[r].
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats y, weights, z;
  uint width, used_count, y_stride, weights_stride, z_stride;
};

void main() {
  const uint row = gl_WorkGroupID.y, step = gl_NumWorkGroups.x * kThreads;
  for (uint n = gl_GlobalInvocationID.x; n < width; n += step) {
    float sum = 0;
    for (uint i = 0; i < used_count; ++i)
      sum = fma(weights.at[row * weights_stride + i], y.at[row * y_stride + i * width + n], sum);
    z.at[row * z_stride + n] = sum;
  }
}
