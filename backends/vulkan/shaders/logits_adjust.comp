// First half of LOGITS_SELECT; a workgroup has one stretch of one row: mask, adjustments in their order, temperature; then
// the largest and the sum of exponentials of the raw and of the adjusted stretch.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
const uint kStretch = 2048;  // columns; backends/vulkan/compile_select.cpp knows it too
// What one invocation writes and another reads.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer SharedFloats { float at[]; };

layout(push_constant) uniform Push {
  Floats raw;
  SharedFloats adjusted;
  Words header, masks;  // masks are looked at where the header says that they are filled
  Floats temperatures;
  Words starts, changes;  // adjustments: token, repetition, bias
  Floats summaries;       // [row][stretch][largest, sum, adjusted largest, adjusted sum]
  uint vocabulary, raw_stride, adjusted_stride, has_masks;
};

shared float lanes[kThreads];

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

bool allowed(uint row, uint column) {
  if (has_masks == 0 || (header.at[5] & 1) == 0) return true;
  return (masks.at[row * ((vocabulary + 31) / 32) + column / 32] >> column % 32 & 1) != 0;
}

// Rounded to nearest, which a device's own division need not be: equal logits stay equal to what the host would make.
float divide(float a, float b) {
  const float quotient = a / b;
  return isinf(quotient) ? quotient : fma(fma(-quotient, b, a), 1 / b, quotient);
}

// The changes of this stretch, by one thread: the same token may come twice.
void apply_changes(uint row, uint begin, uint end) {
  for (uint i = starts.at[row]; i < starts.at[row + 1]; ++i) {
    const uint token = changes.at[3 * i];
    if (token < begin || token >= end) continue;
    const float repetition = uintBitsToFloat(changes.at[3 * i + 1]), bias = uintBitsToFloat(changes.at[3 * i + 2]);
    const float logit = adjusted.at[row * adjusted_stride + token];
    if (logit == kNever) continue;
    adjusted.at[row * adjusted_stride + token] = (logit > 0 ? divide(logit, repetition) : logit * repetition) + bias;
  }
}

float exp_below(float value, float largest) { return isinf(largest) ? 0 : exp(value - largest); }

void main() {
  const uint stretch = gl_WorkGroupID.x, row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  const uint begin = stretch * kStretch, end = min(begin + kStretch, vocabulary);
  const uint from = row * raw_stride, to = row * adjusted_stride;
  float largest = kNever, sum = 0;
  for (uint i = begin + lane; i < end; i += kThreads) {
    const float logit = raw.at[from + i];
    adjusted.at[to + i] = isnan(logit) || !allowed(row, i) ? kNever : logit;
    largest = max(largest, logit);
  }
  largest = reduce(largest, true);
  for (uint i = begin + lane; i < end; i += kThreads) sum += exp_below(raw.at[from + i], largest);
  sum = reduce(sum, false);

  const float temperature = temperatures.at[row];
  const bool changed = starts.at[row] != starts.at[row + 1];
  if (changed) {
    memoryBarrierBuffer();
    barrier();
    if (lane == 0) apply_changes(row, begin, end);
    memoryBarrierBuffer();
    barrier();
  }
  float adjusted_largest = kNever, adjusted_sum = 0;
  for (uint i = begin + lane; i < end; i += kThreads) {
    float logit = adjusted.at[to + i];
    if (temperature != 0 && temperature != 1) adjusted.at[to + i] = logit = divide(logit, temperature);
    adjusted_largest = max(adjusted_largest, logit);
  }
  adjusted_largest = reduce(adjusted_largest, true);
  for (uint i = begin + lane; i < end; i += kThreads) adjusted_sum += exp_below(adjusted.at[to + i], adjusted_largest);
  adjusted_sum = reduce(adjusted_sum, false);
  if (lane != 0) return;
  const uint at = (row * gl_NumWorkGroups.x + stretch) * 4;
  summaries.at[at] = largest;
  summaries.at[at + 1] = sum;
  summaries.at[at + 2] = adjusted_largest;
  summaries.at[at + 3] = adjusted_sum;
}
