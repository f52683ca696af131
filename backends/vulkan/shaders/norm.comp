// What brings the columns of a row to a common measure; a workgroup has one group of columns of one row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint KIND = 0;
const uint kRms = 0, kLayer = 1, kNormalise = 2, kSoftmax = 3;
layout(push_constant) uniform Push {
  Floats x;
  uint64_t weight, bias;
  Floats y;
  uint width, x_stride, y_stride;  // width: of a group
  float epsilon, weight_offset;
};

shared float lanes[kThreads];

// The sum (or the largest) over the workgroup, in an order that depends on its size alone.
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

void main() {
  const uint lane = gl_LocalInvocationID.x;
  const uint from = gl_WorkGroupID.y * x_stride + gl_WorkGroupID.x * width;
  const uint to = gl_WorkGroupID.y * y_stride + gl_WorkGroupID.x * width;
  float shift = 0, sum = 0;
  if (KIND == kSoftmax) {
    shift = kNever;
    for (uint i = lane; i < width; i += kThreads) shift = max(shift, x.at[from + i]);
    shift = reduce(shift, true);
  }
  if (KIND == kLayer) {
    for (uint i = lane; i < width; i += kThreads) shift += x.at[from + i];
    shift = reduce(shift, false) / float(width);
  }
  for (uint i = lane; i < width; i += kThreads) {
    const float value = x.at[from + i] - shift;
    sum += KIND == kSoftmax ? exp(value) : value * value;
  }
  sum = reduce(sum, false);
  float factor = 1 / sum;
  if (KIND == kRms || KIND == kLayer) factor = 1 / sqrt(sum / float(width) + epsilon);
  if (KIND == kNormalise) factor = sum > 0 ? 1 / sqrt(sum) : 0;
  for (uint i = lane; i < width; i += kThreads) {
    const float value = x.at[from + i] - shift;
    float result = (KIND == kSoftmax ? exp(value) : value) * factor;
    if (weight != 0) result *= Floats(weight).at[i] + weight_offset;
    if (bias != 0) result += Floats(bias).at[i];
    y.at[to + i] = result;
  }
}
