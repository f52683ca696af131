// Sorts the pairs (row, chosen expert) of a step by expert, and cuts each expert's into tiles, so that the rows of a tile
// share what is read of its weights; one workgroup does it all. In what order an expert's pairs stand is left open: each
// is a sum of its own.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
const uint kMost = 512;  // experts
layout(push_constant) uniform Push {
  Words experts, row_count;
  Words pairs;  // row * used_count + which of its experts
  Words tiles;  // their number, then for each: expert, first pair, number of pairs
  uint experts_stride, expert_count, used_count, tile_pairs;
};

shared uint counts[kMost], first_pair[kMost], first_tile[kMost];

void main() {
  const uint lane = gl_LocalInvocationID.x, count = row_count.at[0] * used_count;
  for (uint e = lane; e < expert_count; e += kThreads) counts[e] = 0;
  barrier();
  for (uint i = lane; i < count; i += kThreads)
    atomicAdd(counts[min(experts.at[i / used_count * experts_stride + i % used_count], expert_count - 1)], 1);
  barrier();
  if (lane == 0) {
    uint pair = 0, tile = 0;
    for (uint e = 0; e < expert_count; ++e) {
      first_pair[e] = pair;
      first_tile[e] = tile;
      pair += counts[e];
      tile += (counts[e] + tile_pairs - 1) / tile_pairs;
    }
    tiles.at[0] = tile;
  }
  barrier();
  for (uint e = lane; e < expert_count; e += kThreads) {
    for (uint done = 0, tile = first_tile[e]; done < counts[e]; done += tile_pairs, ++tile) {
      tiles.at[1 + 3 * tile] = e;
      tiles.at[2 + 3 * tile] = first_pair[e] + done;
      tiles.at[3 + 3 * tile] = min(tile_pairs, counts[e] - done);
    }
  }
  barrier();
  for (uint i = lane; i < count; i += kThreads) {
    const uint e = min(experts.at[i / used_count * experts_stride + i % used_count], expert_count - 1);
    pairs.at[atomicAdd(first_pair[e], 1)] = i;
  }
}
