// One row a sequence: the mean of its rows, its first, or its last.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats x;
  Words starts;
  Floats y;
  uint width, x_stride, y_stride, pooling;  // NACELLE_POOL_*
};

void main() {
  const uint sequence = gl_WorkGroupID.y, step = gl_NumWorkGroups.x * kThreads;
  uint begin = starts.at[sequence], end = starts.at[sequence + 1];
  if (pooling == 2) end = min(begin + 1, end);
  if (pooling == 3 && end > begin) begin = end - 1;
  for (uint i = gl_GlobalInvocationID.x; i < width; i += step) {
    float sum = 0;
    for (uint r = begin; r < end; ++r) sum += x.at[r * x_stride + i];
    y.at[sequence * y_stride + i] = begin < end ? sum / float(end - begin) : 0;
  }
}
