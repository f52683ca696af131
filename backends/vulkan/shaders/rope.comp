// Rotary position embedding; a thread makes one column. cos and sin come from a table made on the host in double
// precision ([positions][pairs] pairs of floats): the device's own are too coarse at large angles.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats x;
  Words positions;
  Floats table, y;
  uint width, head_width, pairs, interleaved, x_stride, y_stride;
};

void main() {
  const uint row = gl_WorkGroupID.y, column = gl_GlobalInvocationID.x;
  if (column >= width) return;
  const uint from = row * x_stride + column, i = column % head_width;
  float value = x.at[from];
  if (i < 2 * pairs) {
    const uint pair = interleaved != 0 ? i / 2 : i % pairs;
    const bool second = interleaved != 0 ? i % 2 == 1 : i >= pairs;
    const uint apart = interleaved != 0 ? 1 : pairs;
    const uint entry = (positions.at[row] * pairs + pair) * 2;
    const float other = x.at[second ? from - apart : from + apart] * table.at[entry + 1];
    value *= table.at[entry];
    value = second ? value + other : value - other;
  }
  y.at[row * y_stride + column] = value;
}
