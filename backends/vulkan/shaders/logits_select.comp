// Second half of LOGITS_SELECT; a workgroup has a row. The k-th best is found eight bits at a time: first of the logits'
// order, then, among those as good as it, of the ids'. What is at least as good is gathered, then put in order by
// counting how many are better.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// What one invocation writes and another reads.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer SharedWords { uint at[]; };

layout(push_constant) uniform Push {
  Floats raw, adjusted, summaries;
  Words ids;  // of the output block, like the next three
  Floats out_adjusted, out_raw, logsumexp;
  Words best;
  SharedWords found;  // [row][candidates]
  uint vocabulary, raw_stride, adjusted_stride, candidates, stretches;
};

shared uint histogram[256];
shared uint prefix, wanted, count;

// Rising with the logit; +0 and -0 are one.
uint order_of(uint at) {
  const uint bits = floatBitsToUint(adjusted.at[at] + 0.0);
  return bits ^ ((bits & 0x80000000u) != 0 ? 0xffffffffu : 0x80000000u);
}

// One digit of the key of the `wanted`-th largest among those whose keys agree with `prefix` above it.
void narrow(uint row_at, uint shift, bool by_id, uint limit) {
  const uint lane = gl_LocalInvocationID.x;
  const uint above = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
  for (uint i = lane; i < 256; i += kThreads) histogram[i] = 0;
  barrier();
  for (uint i = lane; i < vocabulary; i += kThreads) {
    const uint order = order_of(row_at + i);
    if (by_id && order != limit) continue;
    const uint key = by_id ? ~i : order;
    if ((key & above) == (prefix & above)) atomicAdd(histogram[key >> shift & 255], 1);
  }
  barrier();
  if (lane == 0) {
    uint digit = 255;
    for (; digit > 0 && histogram[digit] < wanted; --digit) wanted -= histogram[digit];
    prefix |= digit << shift;
    count = histogram[digit];
  }
  barrier();
}

void logsumexps(uint row) {
  for (uint of = 0; of < 2; ++of) {
    float largest = kNever, sum = 0;
    for (uint s = 0; s < stretches; ++s) largest = max(largest, summaries.at[(row * stretches + s) * 4 + 2 * of]);
    for (uint s = 0; s < stretches; ++s) {
      const uint at = (row * stretches + s) * 4 + 2 * of;
      if (!isinf(largest)) sum += summaries.at[at + 1] * exp(summaries.at[at] - largest);
    }
    logsumexp.at[2 * row + of] = isinf(largest) ? largest : largest + log(sum);
  }
}

// A candidate that was found. Always a token: mesa 26's llvmpipe reads what a loop body reads, and what that leads to, even
// where no invocation is in the loop and nothing was found.
uint candidate(uint at) { return min(found.at[at], vocabulary - 1); }

bool is_better(uint row_at, uint a, uint b) {
  const uint x = order_of(row_at + a), y = order_of(row_at + b);
  return x > y || (x == y && a < b);
}

void main() {
  const uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  const uint row_at = row * adjusted_stride, k = min(candidates, vocabulary), list = row * candidates;
  if (lane == 0) {
    prefix = 0;
    wanted = k;
  }
  barrier();
  for (uint digit = 0; digit < 4; ++digit) narrow(row_at, 24 - 8 * digit, false, 0);
  const uint limit = prefix;
  uint last_id = 0xffffffffu;  // the largest id that is taken among the equals
  if (wanted < count) {
    barrier();
    if (lane == 0) prefix = 0;
    barrier();
    for (uint digit = 0; digit < 4; ++digit) narrow(row_at, 24 - 8 * digit, true, limit);
    last_id = ~prefix;
  }
  barrier();
  if (lane == 0) count = 0;
  barrier();
  for (uint i = lane; i < vocabulary; i += kThreads) {
    const uint order = order_of(row_at + i);
    if (order > limit || (order == limit && i <= last_id)) found.at[list + atomicAdd(count, 1)] = i;
  }
  memoryBarrierBuffer();
  barrier();
  for (uint i = lane; i < candidates; i += kThreads) {
    uint id = 0xffffffffu, place = i;
    if (i < k) {
      id = candidate(list + i);
      place = 0;
      for (uint j = 0; j < k; ++j) place += is_better(row_at, candidate(list + j), id) ? 1 : 0;
    }
    ids.at[list + place] = id;
    out_adjusted.at[list + place] = i < k ? adjusted.at[row_at + id] : kNever;
    out_raw.at[list + place] = i < k ? raw.at[row * raw_stride + id] : kNever;
    if (place == 0) best.at[row] = id;
  }
  if (lane == 0) logsumexps(row);
}
