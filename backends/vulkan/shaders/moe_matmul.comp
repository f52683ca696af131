// y[r][i] = x[r] w[e]^T (+ bias[e]) with e the i-th expert of row r: 32 outputs of an expert to a workgroup, for one pair
// (row, expert), or for a tile of pairs that moe_group.comp has put together. K is cut and summed as in matmul.comp, so a
// pair's bits do not depend on who shares its tile.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_y_id = 1) in;  // slices side by side: 1, or all of them

layout(constant_id = 2) const uint TILE = 0;  // pairs; 0: one, named by the workgroup's place

const uint kPairs = TILE == 0 ? 1 : TILE;

layout(push_constant) uniform Push {
  Floats x;
  Words4 codes;
  Words headers;
  uint64_t bias;
  Floats y;
  Words experts;  // [row][used_count], or the tiles
  Words pairs;
  uint outputs, k, blocks, slices, slice_blocks, x_stride, y_stride, experts_stride, expert_count;
  uint used_count;  // and above it 1 << 16 where x has columns of its own for each expert
  uint extra_bytes;
};
#define EXTRA_BYTES extra_bytes
#include "weights.glsl"

shared float partial[gl_WorkGroupSize.y == 1 ? 1 : gl_WorkGroupSize.y * 32 * kPairs];

void main() {
  const uint lane = gl_LocalInvocationID.x, lanes_y = gl_WorkGroupSize.y;
  const uint used = used_count & 0xffffu, panels = (outputs + 31) / 32;
  uint panel, expert, count = 1, pair_of[kPairs];
  if (TILE == 0) {
    panel = gl_WorkGroupID.x % panels;
    const uint chosen = gl_WorkGroupID.x / panels;
    expert = min(experts.at[gl_WorkGroupID.y * experts_stride + chosen], expert_count - 1);
    pair_of[0] = gl_WorkGroupID.y * used + chosen;
  } else {
    if (gl_WorkGroupID.y >= experts.at[0]) return;
    panel = gl_WorkGroupID.x;
    expert = experts.at[1 + 3 * gl_WorkGroupID.y];
    count = experts.at[3 + 3 * gl_WorkGroupID.y];
    const uint first = experts.at[2 + 3 * gl_WorkGroupID.y];
    [[unroll]] for (uint p = 0; p < kPairs; ++p) pair_of[p] = pairs.at[first + min(p, count - 1)];
  }
  uint from[kPairs];
  [[unroll]] for (uint p = 0; p < kPairs; ++p)
    from[p] = pair_of[p] / used * x_stride + (used_count > 0xffffu ? pair_of[p] % used * k : 0);

  // Experts lie one below the other, not each in panels of its own.
  Matrix m = Matrix(codes, headers, blocks);
  const uint n = panel * 32 + lane, line = expert * outputs + min(n, outputs - 1);
  float totals[kPairs], sums[kPairs];
  [[unroll]] for (uint p = 0; p < kPairs; ++p) totals[p] = 0;
  for (uint slice = gl_LocalInvocationID.y; slice < slices; slice += lanes_y) {
    [[unroll]] for (uint p = 0; p < kPairs; ++p) sums[p] = 0;
    const uint end = min((slice + 1) * slice_blocks, blocks);
    for (uint block = slice * slice_blocks; block < end; ++block) {
      const Block b = load_block(m, line / kColumns, block, line % kColumns);
      [[unroll]] for (uint i = 0; i < 32; ++i) {
        const float w = weight(b, i);
        const uint column = min(block * 32 + i, k - 1);  // past K the weights are zero
        [[unroll]] for (uint p = 0; p < kPairs; ++p) sums[p] = fma(w, x.at[from[p] + column], sums[p]);
      }
    }
    [[unroll]] for (uint p = 0; p < kPairs; ++p)
      if (lanes_y == 1)
        totals[p] += sums[p];
      else
        partial[(slice * kPairs + p) * 32 + lane] = sums[p];
  }
  if (lanes_y > 1) {
    barrier();
    if (gl_LocalInvocationID.y != 0) return;
    for (uint slice = 0; slice < slices; ++slice)
      [[unroll]] for (uint p = 0; p < kPairs; ++p) totals[p] += partial[(slice * kPairs + p) * 32 + lane];
  }
  if (n >= outputs) return;
  const float added = bias != 0 ? Floats(bias).at[line] : 0;
  [[unroll]] for (uint p = 0; p < kPairs; ++p)
    if (p < count) y.at[pair_of[p] / used * y_stride + pair_of[p] % used * outputs + n] = totals[p] + added;
}
