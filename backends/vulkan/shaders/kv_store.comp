// Writes this step's keys and values to the cache; a thread makes one word.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
layout(constant_id = 1) const uint KEY_TYPE = 0;
layout(constant_id = 2) const uint VALUE_TYPE = 0;
layout(push_constant) uniform Push {
  Floats k, v;
  Words row_sequences, positions, table;
  uint64_t cache, block_bytes;
  uint heads, key_width, value_width, block_tokens, table_width, k_stride, v_stride;
};

uint element_word(Floats from, uint first, uint index, uint width, uint type) {
  if (type == KV_F32) return floatBitsToUint(from.at[first + index]);
  const uint i = 2 * index;
  return pack_pair(type, from.at[first + i], i + 1 < width ? from.at[first + i + 1] : 0);
}

void main() {
  const uint row = gl_WorkGroupID.y, key_words = words_of(KEY_TYPE, key_width), value_words = words_of(VALUE_TYPE, value_width);
  uint i = gl_GlobalInvocationID.x;
  if (i >= heads * (key_words + value_words)) return;
  const uint position = positions.at[row], token = position % block_tokens;
  const uint block = table.at[row_sequences.at[row] * table_width + position / block_tokens];
  Words memory = Words(cache + block * block_bytes);
  if (i < heads * key_words) {
    const uint word = element_word(k, row * k_stride + i / key_words * key_width, i % key_words, key_width, KEY_TYPE);
    memory.at[i * block_tokens + token] = word;
  } else {
    i -= heads * key_words;
    const uint head = i / value_words, index = i % value_words;
    const uint word = element_word(v, row * v_stride + head * value_width, index, value_width, VALUE_TYPE);
    memory.at[heads * key_words * block_tokens + (head * block_tokens + token) * value_words + index] = word;
  }
}
