// Chooses the experts of a row, best first, and what each weighs; a workgroup has a row. backends/reference/ops_moe.cpp
// says what is chosen.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
const uint kMost = 512;  // experts; backends/vulkan/supports.cpp knows it too
const uint kSoftmaxThenTop = 1, kTopThenSoftmax = 2, kSigmoid = 3;  // NACELLE_ROUTE_*
layout(push_constant) uniform Push {
  Floats scores;
  uint64_t bias;
  Words experts;
  Floats weights;
  uint scores_stride, experts_stride, weights_stride;
  uint expert_count, used_count, routing, renormalise, group_count, group_used;
  float scale;
};

shared float probability[kMost], choice[kMost], worth[kMost], lanes[kThreads];
shared uint order[kMost];

float reduce(float value, bool largest) {
  const uint lane = gl_LocalInvocationID.x;
  barrier();
  lanes[lane] = value;
  for (uint step = kThreads / 2; step > 0; step /= 2) {
    barrier();
    if (lane < step) lanes[lane] = largest ? max(lanes[lane], lanes[lane + step]) : lanes[lane] + lanes[lane + step];
  }
  barrier();
  return lanes[0];
}

// The `k` best of `n` into the front of order, of equals the smaller index first. Every place holds some index, also where
// a score is no number.
void best_of(bool groups, uint n, uint k) {
  const uint lane = gl_LocalInvocationID.x;
  barrier();
  for (uint i = lane; i < k; i += kThreads) order[i] = i;
  barrier();
  for (uint i = lane; i < n; i += kThreads) {
    const float own = groups ? worth[i] : choice[i];
    uint rank = 0;
    for (uint j = 0; j < n; ++j) {
      const float other = groups ? worth[j] : choice[j];
      rank += other > own || (other == own && j < i) ? 1 : 0;
    }
    if (rank < k) order[rank] = i;
  }
  barrier();
}

// A group is worth its best expert, or its two best where experts are scored by sigmoid; those of the others are struck out.
void keep_best_groups() {
  const uint lane = gl_LocalInvocationID.x, size = expert_count / group_count;
  barrier();
  for (uint g = lane; g < group_count; g += kThreads) {
    float best = kNever, second = kNever;
    for (uint i = 0; i < size; ++i) {
      const float value = choice[g * size + i];
      second = value > best ? best : max(second, value);
      best = max(best, value);
    }
    worth[g] = routing == kSigmoid && size > 1 ? best + second : best;
  }
  best_of(true, group_count, group_used);
  for (uint i = lane; i < expert_count; i += kThreads) {
    bool kept = false;
    for (uint g = 0; g < group_used; ++g) kept = kept || order[g] == i / size;
    if (!kept) choice[i] = kNever;
  }
}

void main() {
  const uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x, from = row * scores_stride;
  float peak = kNever, sum = 0;
  for (uint i = lane; i < expert_count; i += kThreads) peak = max(peak, scores.at[from + i]);
  peak = reduce(peak, true);
  for (uint i = lane; i < expert_count; i += kThreads) sum += exp(scores.at[from + i] - peak);
  sum = reduce(sum, false);
  for (uint i = lane; i < expert_count; i += kThreads) {
    const float score = scores.at[from + i];
    float p = score;
    if (routing == kSoftmaxThenTop) p = exp(score - peak) / sum;
    if (routing == kSigmoid) p = 1 / (1 + exp(-score));
    probability[i] = p;
    choice[i] = bias != 0 ? p + Floats(bias).at[i] : p;
  }
  if (group_count != 0) keep_best_groups();
  best_of(false, expert_count, used_count);
  if (lane != 0) return;
  float top = kNever, total = 0;
  for (uint i = 0; i < used_count; ++i) top = max(top, probability[order[i]]);
  for (uint i = 0; i < used_count; ++i) {
    const float p = probability[order[i]], weight = routing == kTopThenSoftmax ? exp(p - top) : p;
    experts.at[row * experts_stride + i] = order[i];
    weights.at[row * weights_stride + i] = weight;
    total += weight;
  }
  const bool divide = routing == kTopThenSoftmax || (renormalise != 0 && total > 0);
  for (uint i = 0; i < used_count; ++i) {
    const float weight = weights.at[row * weights_stride + i];
    weights.at[row * weights_stride + i] = (divide ? weight / total : weight) * scale;
  }
}
