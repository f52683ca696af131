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
layout(constant_id = 3) const uint LANE_WORDS = 1;  // words of a value's elements that a lane has, at most
layout(constant_id = 4) const uint MEMORY = 0;
layout(constant_id = 5) const uint CHUNKED = 0;
const uint kKeys = kThreads < 32 ? 32 / kThreads : 1;  // of a lane in a chunk
const uint kChunk = kKeys * kThreads;
const uint kKeyElements = KEY_TYPE == KV_F32 ? 1 : KEY_TYPE == KV_Q4_0 ? 8 : KEY_TYPE == KV_Q8_0 ? 4 : 2;  // of a word
const uint kElements = VALUE_TYPE == KV_F32 ? 1 : VALUE_TYPE == KV_Q4_0 ? 8 : VALUE_TYPE == KV_Q8_0 ? 4 : 2;
const uint kStep = kKeyElements < kThreads ? kKeyElements : kThreads;

// Own rows: table is the values, cache the keys, block_bytes their strides (keys' low, values' high), block_tokens the
// columns from one head's values to the next.
layout(push_constant) uniform Push {
  Floats q;
  Words row_sequences, positions, lengths, table;
  uint64_t cache, block_bytes;
  Floats partial;  // [row][head][split][value width + 2]
  uint64_t bias;   // [head][slope of ALiBi, bias of each distance from -R to R]
  uint heads, group, key_width, value_width, block_tokens, table_width, q_stride, window_causal, split_tokens, splits;
  float scale, soft_cap;
  uint bias_words;  // of a head; 0: none, 1: a slope alone
};
#include "attention.glsl"

struct Lane {
  uint64_t keys[kKeys];
  float scores[kKeys];
};

void score(inout Lane of, uint first_q, uint lane) {
  const uint stride = MEMORY == MEMORY_OWN ? 1 : block_tokens;  // words from one of a key to the next
  float sums[kKeys], factors[kKeys];
  [[unroll]] for (uint i = 0; i < kKeys; ++i) {
    sums[i] = 0;
    factors[i] = 1;
  }
  for (uint base = 0; base < key_width; base += kThreads) {
    const float mine = base + lane < key_width ? q.at[first_q + base + lane] : 0;
    [[unroll]] for (uint j = 0; j < kThreads; j += kStep) {
      if (base + j >= key_width) break;
      const uint word = (base + j) / kKeyElements;
      float qs[kStep];
      [[unroll]] for (uint e = 0; e < kStep; ++e) qs[e] = subgroupBroadcast(mine, j + e);
      [[unroll]] for (uint i = 0; i < kKeys; ++i) {
        Words key = Words(of.keys[i]);
        if (has_blocks(KEY_TYPE) && j % 32 == 0) factors[i] = unpackHalf2x16(key.at[scale_place(KEY_TYPE, word) * stride]).x;
        const uint bits = key.at[code_place(KEY_TYPE, word) * stride];
        [[unroll]] for (uint e = 0; e < kStep; ++e) {
          float value = element(KEY_TYPE, bits, (base + j) % kKeyElements + e);
          if (has_blocks(KEY_TYPE)) value *= factors[i];
          sums[i] = fma(qs[e], value, sums[i]);
        }
      }
    }
  }
  [[unroll]] for (uint i = 0; i < kKeys; ++i) {
    of.scores[i] = sums[i] * scale;
    if (soft_cap != 0) of.scores[i] = soft_cap * tanh(of.scores[i] / soft_cap);
  }
}

float bias_of(uint head, uint query, uint key) {
  const int distance = int(key) - int(query);
  Floats table_of = Floats(bias + 4 * head * bias_words);
  float value = -table_of.at[0] * abs(float(distance));
  if (bias_words > 1) {
    const int reach = int(bias_words - 2) / 2;
    value += table_of.at[1 + clamp(distance, -reach, reach) + reach];
  }
  return value;
}

// Of the block that holds the token; own rows: the row.
uint place_of(Seen seen, uint token) {
  if (MEMORY == MEMORY_OWN) return lengths.at[seen.sequence] + token;
  return table.at[seen.sequence * table_width + token / block_tokens];
}

uint64_t key_address(uint place, uint token, uint kv_head) {
  if (MEMORY == MEMORY_OWN) return cache + 4 * (place * uint(block_bytes) + kv_head * key_width);
  return cache + place * block_bytes + 4 * (kv_head * words_of(KEY_TYPE, key_width) * block_tokens + token % block_tokens);
}

uint64_t value_address(uint place, uint token, uint kv_head) {
  if (MEMORY == MEMORY_OWN)
    return uint64_t(table) + 4 * (place * uint(block_bytes >> 32) + kv_head * block_tokens);
  if (MEMORY == MEMORY_ALIAS) return key_address(place, token, kv_head);
  const uint key_words = words_of(KEY_TYPE, key_width), value_words = words_of(VALUE_TYPE, value_width);
  return cache + place * block_bytes + 4 * (heads / group * key_words * block_tokens +
                                            (kv_head * block_tokens + token % block_tokens) * value_words);
}

void main() {
  const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, split = gl_WorkGroupID.z, lane = gl_SubgroupInvocationID;
  const Seen seen = keys_of(row);
  const uint first = max(seen.begin, split * split_tokens), last = min(seen.end, (split + 1) * split_tokens);
  if (first >= last) return;

  const uint kv_head = head / group, stride = MEMORY == MEMORY_ALIAS ? block_tokens : 1;
  const uint lane_words = (value_width + kElements - 1) / kElements;
  float largest = kNever, sum = 0, mixed[LANE_WORDS * kElements];
  [[unroll]] for (uint i = 0; i < LANE_WORDS * kElements; ++i) mixed[i] = 0;

  for (uint chunk = first / kChunk * kChunk; chunk < last; chunk += kChunk) {
    Lane of;
    uint places[kKeys];
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      const uint token = clamp(chunk + i * kThreads + lane, first, last - 1);
      places[i] = place_of(seen, token);
      of.keys[i] = key_address(places[i], token, kv_head);
    }
    score(of, row * q_stride + head * key_width, lane);
    float chunk_largest = kNever;
    [[unroll]] for (uint i = 0; i < kKeys; ++i) {
      const uint token = chunk + i * kThreads + lane;
      if (bias_words != 0) of.scores[i] += bias_of(head, seen.query, token);
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
        const uint place = subgroupBroadcast(places[i], j);
        if (token < first || token >= last) continue;
        Words values = Words(value_address(place, token, kv_head));
        [[unroll]] for (uint w = 0; w < LANE_WORDS; ++w) {
          const uint word = min(w * kThreads + lane, lane_words - 1);
          const uint bits = values.at[code_place(VALUE_TYPE, word) * stride];
          float share = weight;
          if (has_blocks(VALUE_TYPE)) share *= unpackHalf2x16(values.at[scale_place(VALUE_TYPE, word) * stride]).x;
          [[unroll]] for (uint e = 0; e < kElements; ++e)
            mixed[w * kElements + e] = fma(share, element(VALUE_TYPE, bits, e), mixed[w * kElements + e]);
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
