// Joins the splits of attention.comp, in order, with the head's sink, which has a score and no value; a workgroup has a
// head of a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint MEMORY = 0;
layout(constant_id = 2) const uint CHUNKED = 0;
layout(push_constant) uniform Push {
  Floats partial;
  Words row_sequences, positions, lengths;
  Floats y;
  uint64_t sinks;  // [head], or 0
  uint splits, split_tokens, heads, value_width, y_stride, window_causal;
};
#include "attention.glsl"

void main() {
  const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y;
  const Seen seen = keys_of(row);
  const uint from = (row * heads + head) * splits, stride = value_width + 2;
  const float sink = sinks != 0 ? Floats(sinks).at[head] : kNever;
  float largest = sink;
  for (uint s = seen.begin / split_tokens; s * split_tokens < seen.end; ++s)
    largest = max(largest, partial.at[(from + s) * stride + value_width]);
  for (uint i = gl_LocalInvocationID.x; i < value_width; i += kThreads) {
    float sum = sinks != 0 ? exp(sink - largest) : 0, mixed = 0;
    for (uint s = seen.begin / split_tokens; s * split_tokens < seen.end; ++s) {
      const uint part = (from + s) * stride;
      const float share = exp(partial.at[part + value_width] - largest);
      sum += partial.at[part + value_width + 1] * share;
      mixed += partial.at[part + i] * share;
    }
    y.at[row * y_stride + head * value_width + i] = mixed / sum;
  }
}
