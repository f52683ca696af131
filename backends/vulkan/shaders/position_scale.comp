// A row by a factor that grows with its position: 1 + strength ln(1 + floor((position + offset) / length)).
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats x;
  Words positions;
  Floats y;
  uint width, x_stride, y_stride, period, offset;
  float strength;
};

void main() {
  const uint row = gl_WorkGroupID.y, step = gl_NumWorkGroups.x * kThreads;
  const uint steps = (positions.at[row] + offset) / period;
  const float factor = steps == 0 ? 1 : 1 + strength * log(1 + float(steps));
  for (uint i = gl_GlobalInvocationID.x; i < width; i += step) y.at[row * y_stride + i] = x.at[row * x_stride + i] * factor;
}
