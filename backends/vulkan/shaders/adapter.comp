// z[r] = y[r] + scale (x[r] A^T) B^T with the low-rank pair in the row's slot; a row without one is copied. A workgroup has
// a row, or the columns of one of the row's experts, each of which has a pair of its own; x_step is 0 where all of them
// multiply the same columns of x.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
const uint kMost = 512;  // rank; backends/vulkan/weights.cpp knows it too

struct Entry {  // AdapterEntry of backends/vulkan/weights.hpp
  uint64_t a, b;  // [rank, K], [N, rank]; of experts [E, rank, K], [E, N, rank]
  uint scale, rank;  // scale: the bits of a float
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Entries { Entry at[]; };

layout(push_constant) uniform Push {
  Floats y, x;
  Words slots;
  Entries entries;
  Floats z;
  Words experts;
  uint width, k, entry_count, y_stride, x_stride, z_stride;
  uint experts_stride, expert_count, x_step;  // expert_count 0: none
};

shared float low[kMost];

void main() {
  const uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x, slot = slots.at[row], chosen = gl_WorkGroupID.x;
  const uint x_first = row * x_stride + chosen * x_step, first = chosen * width;
  const uint expert = expert_count == 0 ? 0 : min(experts.at[row * experts_stride + chosen], expert_count - 1);
  uint rank = 0;
  Floats a = x, b = x;
  float scale = 0;
  if (slot < entry_count) {
    rank = entries.at[slot].rank;
    a = Floats(entries.at[slot].a + uint64_t(expert) * rank * k * 4);
    b = Floats(entries.at[slot].b + uint64_t(expert) * rank * width * 4);
    scale = uintBitsToFloat(entries.at[slot].scale);
  }
  for (uint i = lane; i < rank; i += kThreads) {
    float sum = 0;
    for (uint j = 0; j < k; j += 8)  // mesa's llvmpipe ends the loops of an invocation after 65535 rounds
      [[unroll]] for (uint e = 0; e < 8; ++e) {
        const uint at = min(j + e, k - 1);
        sum = fma(x.at[x_first + at], j + e < k ? a.at[i * k + at] : 0, sum);
      }
    low[i] = sum;
  }
  barrier();
  for (uint n = lane; n < width; n += kThreads) {
    float sum = 0;
    for (uint i = 0; i < rank; i += 8)
      [[unroll]] for (uint e = 0; e < 8; ++e) {
        const uint at = min(i + e, rank - 1);
        sum = fma(i + e < rank ? low[at] : 0, b.at[n * rank + at], sum);
      }
    const float base = y.at[row * y_stride + first + n];
    z.at[row * z_stride + first + n] = rank == 0 ? base : fma(scale, sum, base);
  }
}
