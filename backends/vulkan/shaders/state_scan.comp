// A linear recurrence along each sequence (nacelle_scan_attributes has the formula). A workgroup has 32 columns of the
// state of one head of one sequence, which it reads once, takes from row to row, and writes once; a thread keeps KEYS of
// the KEY_WIDTH elements of a column. Sums over them run through a thread's in order, then through the PARTS threads of a
// column in order: a row's bits depend on nothing but what comes before it. While a row is worked on, what is asked of
// the next one is put beside it in shared memory.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint RULE = 1;      // NACELLE_SCAN_*
layout(constant_id = 2) const uint HEADS = 1;
layout(constant_id = 3) const uint SHARERS = 1;   // heads that have q and k in common
layout(constant_id = 4) const uint KEY_WIDTH = 1;
layout(constant_id = 5) const uint VALUE_WIDTH = 1;
layout(constant_id = 6) const uint STEPS = 1;     // of a head: 1 or KEY_WIDTH
layout(constant_id = 7) const uint RATES = 1;     // the same
const uint kDelta = 2, kColumns = 32, kTiles = (VALUE_WIDTH + kColumns - 1) / kColumns;
const uint kParts = kThreads / kColumns, kKeys = (KEY_WIDTH + kParts - 1) / kParts, kAll = kParts * kKeys;

layout(push_constant) uniform Push {
  Floats q, k, v, step;
  uint64_t strength;  // 0: the step is
  Floats vectors;     // skip[HEADS], step bias[HEADS * STEPS], rate[HEADS * RATES]
  Floats y;
  uint64_t states;    // [block][HEADS][KEY_WIDTH][VALUE_WIDTH]
  Words block;        // the step block
  uint q_stride, k_stride, v_stride, step_stride, strength_stride, y_stride;
  uint tables, table_width, starts, positions;  // in the step block, in words
  float scale;
};

shared float keys[2 * kAll], queries[2 * kAll], decays[2 * kAll], strengths[2];
shared float sums[2 * kThreads];

// e^x to a unit or two in the last place: a state feels the error of its decay once a row. The driver's may have 3 units
// and more. ln 2 is subtracted in two parts, of which the first has few enough bits to be exact.
float exp_of(float x) {
  const float whole = clamp(round(x * 1.44269504), -127, 128);
  const float r = fma(whole, 2.12194440e-4, fma(whole, -0.693359375, x));
  float p = 1.0 / 5040;
  p = fma(p, r, 1.0 / 720);
  p = fma(p, r, 1.0 / 120);
  p = fma(p, r, 1.0 / 24);
  p = fma(p, r, 1.0 / 6);
  p = fma(p, r, 0.5);
  p = fma(p, r, 1);
  p = fma(p, r, 1);
  return whole < -126 ? 0 : p * uintBitsToFloat(uint(int(whole) + 127) << 23);
}

// log(1 + e^x) = max(x, 0) + log(1 + t) with t = e^-|x|; and log(1 + t) = 2 artanh(t / (2 + t)), as a series in at most
// 1/3: right to the last places where t is small, too.
float softplus(float x) {
  const float t = exp_of(-abs(x)), s = t / (2 + t), u = s * s;
  float p = 1.0 / 15;
  p = fma(p, u, 1.0 / 13);
  p = fma(p, u, 1.0 / 11);
  p = fma(p, u, 1.0 / 9);
  p = fma(p, u, 1.0 / 7);
  p = fma(p, u, 1.0 / 5);
  p = fma(p, u, 1.0 / 3);
  p = fma(p, u, 1);
  return fma(2 * s, p, max(x, 0));
}

// What the threads of a head ask of a row, and zeros behind it.
void stage(uint row, uint head, uint turn) {
  [[unroll]] for (uint i = 0; i < (kAll + kThreads - 1) / kThreads; ++i) {
    const uint d = i * kThreads + gl_LocalInvocationID.x, at = turn * kAll + d, group = head / SHARERS;
    if (d >= kAll) continue;
    const bool there = d < KEY_WIDTH;
    const uint own = head * STEPS + (STEPS == 1 || !there ? 0 : d);
    const float delta = softplus(step.at[row * step_stride + own] + vectors.at[HEADS + own]);
    keys[at] = there ? k.at[row * k_stride + group * KEY_WIDTH + d] : 0;
    queries[at] = there ? q.at[row * q_stride + group * KEY_WIDTH + d] : 0;
    decays[at] = there ? exp_of(vectors.at[(1 + STEPS) * HEADS + (RATES == 1 ? head : head * RATES + d)] * delta) : 0;
    if (d == 0) strengths[turn] = strength != 0 ? Floats(strength).at[row * strength_stride + head] : delta;
  }
}

// Over the parts of this thread's column; each use of one row has a place of its own.
float sum_of(float part, uint use) {
  if (kParts == 1) return part;
  const uint lane = gl_LocalInvocationID.x;
  sums[use * kThreads + lane] = part;
  barrier();
  float sum = 0;
  [[unroll]] for (uint i = 0; i < kParts; ++i) sum += sums[use * kThreads + i * kColumns + lane % kColumns];
  return sum;
}

void main() {
  const uint head = gl_WorkGroupID.x / kTiles, sequence = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  const uint begin = block.at[starts + sequence], end = block.at[starts + sequence + 1];
  if (begin >= end) return;
  const uint column = gl_WorkGroupID.x % kTiles * kColumns + lane % kColumns, first = lane / kColumns * kKeys;
  const bool used = column < VALUE_WIDTH;
  const uint64_t index = uint64_t(block.at[tables + sequence * table_width]) * HEADS + head;
  Floats of = Floats(states + 4 * (index * (KEY_WIDTH * VALUE_WIDTH) + column));
  const bool fresh = block.at[positions + begin] == 0;
  float state[kKeys];
  [[unroll]] for (uint i = 0; i < kKeys; ++i)
    state[i] = used && !fresh && first + i < KEY_WIDTH ? of.at[(first + i) * VALUE_WIDTH] : 0;

  stage(begin, head, 0);
  for (uint row = begin; row < end; ++row) {
    const uint turn = row - begin & 1, at = turn * kAll + first;
    barrier();
    if (row + 1 < end) stage(row + 1, head, turn ^ 1);
    const float value = used ? v.at[row * v_stride + head * VALUE_WIDTH + column] : 0;
    float known = 0, sum = 0;  // known: what the state already gives for this key
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      state[i] *= decays[at + i];
      if (RULE == kDelta) known = fma(state[i], keys[at + i], known);
    }
    if (RULE == kDelta) known = sum_of(known, 0);
    const float change = strengths[turn] * (value - known);
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      state[i] = fma(keys[at + i], change, state[i]);
      sum = fma(state[i], queries[at + i], sum);
    }
    sum = sum_of(sum, 1);
    if (used && first == 0)
      y.at[row * y_stride + head * VALUE_WIDTH + column] = fma(scale, sum, vectors.at[head] * value);
  }
  [[unroll]] for (uint i = 0; i < kKeys; ++i)
    if (used && first + i < KEY_WIDTH) of.at[(first + i) * VALUE_WIDTH] = state[i];
}
