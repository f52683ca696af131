// One head of one row over one split of its keys, by one subgroup: lanes take a key each for the scores, columns each for
// the values. Chunks and splits begin at fixed positions, so that a row's bits do not depend on what it came with. A
// split leaves its weighted values, the largest score and the sum of exponentials; attention_merge.comp joins them.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "kv.glsl"
layout(constant_id = 1) const uint KEY_TYPE = 0;
layout(constant_id = 2) const uint VALUE_TYPE = 0;
layout(constant_id = 3) const uint LANE_WORDS = 1;  // words of a value that a lane has, at most
const uint kKeys = kThreads < 32 ? 32 / kThreads : 1;  // of a lane in a chunk
const uint kChunk = kKeys * kThreads;
const uint kElements = VALUE_TYPE == KV_F32 ? 1 : 2;  // of a word

layout(push_constant) uniform Push {
  Floats q;
  Words row_sequences, positions, lengths, table;
  uint64_t cache, block_bytes;
  Floats partial;  // [row][head][split][value width + 2]
  uint heads, group, key_width, value_width, block_tokens, table_width, q_stride, window_causal, split_tokens, splits;
  float scale, soft_cap;
};

struct Lane {
  uint64_t keys[kKeys];  // of its tokens, at their block
  float scores[kKeys];
};

void score(inout Lane of, uint key_words, uint first_q, uint lane, uint chunk) {
  float sums[kKeys];
  [[unroll]] for (uint i = 0; i < kKeys; ++i) sums[i] = 0;
  for (uint base = 0; base < key_width; base += kThreads) {
    const float mine = base + lane < key_width ? q.at[first_q + base + lane] : 0;
    [[unroll]] for (uint j = 0; j < kThreads; j += (KEY_TYPE == KV_F32 ? 1 : 2)) {
      if (base + j >= key_width) break;
      const uint word = KEY_TYPE == KV_F32 ? base + j : (base + j) / 2;
      const float q0 = subgroupBroadcast(mine, j);
      const float q1 = KEY_TYPE == KV_F32 ? 0 : subgroupBroadcast(mine, j + 1);
      [[unroll]] for (uint i = 0; i < kKeys; ++i) {
        const uint bits = Words(of.keys[i]).at[word * block_tokens];
        if (KEY_TYPE == KV_F32) {
          sums[i] = fma(q0, uintBitsToFloat(bits), sums[i]);
        } else {
          const vec2 pair = unpack_pair(KEY_TYPE, bits);
          sums[i] = fma(q1, pair.y, fma(q0, pair.x, sums[i]));
        }
      }
    }
  }
  [[unroll]] for (uint i = 0; i < kKeys; ++i) {
    of.scores[i] = sums[i] * scale;
    if (soft_cap != 0) of.scores[i] = soft_cap * tanh(of.scores[i] / soft_cap);
  }
}

void main() {
  const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, split = gl_WorkGroupID.z, lane = gl_SubgroupInvocationID;
  const uint sequence = row_sequences.at[row], position = positions.at[row];
  const uint window = window_causal >> 1;
  const bool causal = (window_causal & 1) != 0;
  uint begin = window != 0 && position >= window ? position - window + 1 : 0;
  uint end = causal ? position + 1 : max(lengths.at[sequence], position + 1);
  if (window != 0 && !causal) end = min(end, position + window);
  const uint first = max(begin, split * split_tokens), last = min(end, (split + 1) * split_tokens);  // of this split
  if (first >= last) return;

  const uint key_words = words_of(KEY_TYPE, key_width), value_words = words_of(VALUE_TYPE, value_width);
  const uint kv_head = head / group, kv_heads = heads / group;
  float largest = kNever, sum = 0, mixed[LANE_WORDS * kElements];
  [[unroll]] for (uint i = 0; i < LANE_WORDS * kElements; ++i) mixed[i] = 0;

  for (uint chunk = first / kChunk * kChunk; chunk < last; chunk += kChunk) {
    Lane of;
    uint blocks[kKeys];
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      const uint token = clamp(chunk + i * kThreads + lane, first, last - 1);
      blocks[i] = table.at[sequence * table_width + token / block_tokens];
      of.keys[i] = cache + blocks[i] * block_bytes + 4 * (kv_head * key_words * block_tokens + token % block_tokens);
    }
    score(of, key_words, row * q_stride + head * key_width, lane, chunk);
    float chunk_largest = kNever;
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      const uint token = chunk + i * kThreads + lane;
      if (token < first || token >= last) of.scores[i] = kNever;
      chunk_largest = max(chunk_largest, of.scores[i]);
    }
    const float next = max(largest, subgroupMax(chunk_largest)), keep = exp(largest - next);
    float chunk_sum = 0;
    [[unroll]] for (uint i = 0; i < kKeys; ++i) chunk_sum += of.scores[i] = exp(of.scores[i] - next);
    sum = sum * keep + subgroupAdd(chunk_sum);
    largest = next;
    [[unroll]] for (uint i = 0; i < LANE_WORDS * kElements; ++i) mixed[i] *= keep;
    [[unroll]] for (uint i = 0; i < kKeys; ++i)
      for (uint j = 0; j < kThreads; ++j) {
        const uint token = chunk + i * kThreads + j;
        const float weight = subgroupBroadcast(of.scores[i], j);
        const uint block = subgroupBroadcast(blocks[i], j);
        if (token < first || token >= last) continue;
        Words values = Words(cache + block * block_bytes +
                                   4 * (kv_heads * key_words * block_tokens +
                                        (kv_head * block_tokens + token % block_tokens) * value_words));
        [[unroll]] for (uint w = 0; w < LANE_WORDS; ++w) {
          const uint word = values.at[min(w * kThreads + lane, value_words - 1)];
          if (VALUE_TYPE == KV_F32) {
            mixed[w] = fma(weight, uintBitsToFloat(word), mixed[w]);
          } else {
            const vec2 pair = unpack_pair(VALUE_TYPE, word);
            mixed[2 * w] = fma(weight, pair.x, mixed[2 * w]);
            mixed[2 * w + 1] = fma(weight, pair.y, mixed[2 * w + 1]);
          }
        }
      }
  }

  const uint to = ((row * heads + head) * splits + split) * (value_width + 2);
  [[unroll]] for (uint w = 0; w < LANE_WORDS; ++w)
    [[unroll]] for (uint e = 0; e < kElements; ++e) {
      const uint column = (w * kThreads + lane) * kElements + e;
      if (column < value_width) partial.at[to + column] = mixed[w * kElements + e];
    }
  if (lane == 0) {
    partial.at[to + value_width] = largest;
    partial.at[to + value_width + 1] = sum;
  }
}
