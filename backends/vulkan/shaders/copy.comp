// Columns of rows moved about: y[r][i + y_first] = x[index of r][i + x_first].
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats x;
  uint64_t indices;  // 0: row r
  Floats y;
  uint width, x_stride, y_stride, x_first, y_first;
};

void main() {
  const uint row = gl_WorkGroupID.y, step = gl_NumWorkGroups.x * kThreads;
  const uint source = indices != 0 ? Words(indices).at[row] : row;
  for (uint i = gl_GlobalInvocationID.x; i < width; i += step)
    y.at[row * y_stride + y_first + i] = x.at[source * x_stride + x_first + i];
}
