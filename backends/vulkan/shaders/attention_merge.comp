// Joins the splits of attention.comp, in order; a workgroup has a head of a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Floats partial;
  Words row_sequences, positions, lengths;
  Floats y;
  uint splits, split_tokens, heads, value_width, y_stride, window_causal;
};

void main() {
  const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, position = positions.at[row];
  const uint window = window_causal >> 1;
  const bool causal = (window_causal & 1) != 0;
  const uint begin = window != 0 && position >= window ? position - window + 1 : 0;
  uint end = causal ? position + 1 : max(lengths.at[row_sequences.at[row]], position + 1);
  if (window != 0 && !causal) end = min(end, position + window);
  const uint from = (row * heads + head) * splits, stride = value_width + 2;
  float largest = kNever;
  for (uint s = begin / split_tokens; s * split_tokens < end; ++s)
    largest = max(largest, partial.at[(from + s) * stride + value_width]);
  for (uint i = gl_LocalInvocationID.x; i < value_width; i += kThreads) {
    float sum = 0, mixed = 0;
    for (uint s = begin / split_tokens; s * split_tokens < end; ++s) {
      const uint part = (from + s) * stride;
      const float share = exp(partial.at[part + value_width] - largest);
      sum += partial.at[part + value_width + 1] * share;
      mixed += partial.at[part + i] * share;
    }
    y.at[row * y_stride + head * value_width + i] = mixed / sum;
  }
}
