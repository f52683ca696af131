// Writes this step's keys and values to the cache; a thread makes a word, or a whole block of a block type.
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
  uint heads, key_width, value_width, block_tokens, table_width, k_stride, v_stride;  // value_width 0: keys alone
};

uint pieces_of(uint type, uint width) { return has_blocks(type) ? width / 32 : words_of(type, width); }

uint element_word(Floats from, uint first, uint index, uint width, uint type) {
  if (type == KV_F32) return floatBitsToUint(from.at[first + index]);
  const uint i = 2 * index;
  return pack_pair(type, from.at[first + i], i + 1 < width ? from.at[first + i + 1] : 0);
}

// Half away from zero.
float round_away(float value) {
  const float whole = floor(abs(value));
  return sign(value) * (abs(value) - whole >= 0.5 ? whole + 1 : whole);
}

// Q8_0: d = max |x| / 127; q = x / d, rounded half away from zero. Q4_0: d = x / -8 for the x of largest magnitude;
// q = min(15, floor(x / d + 8.5)). In both d is not yet rounded to f16. backends/reference/formats.cpp does the same.
void store_block(Floats from, uint first, uint type, Words to, uint stride) {
  float peak = 0;
  for (uint i = 0; i < 32; ++i) {
    const float x = from.at[first + i];
    if (abs(x) > abs(peak)) peak = x;
  }
  const bool bytes = type == KV_Q8_0;
  const float scale = bytes ? abs(peak) / 127 : peak / -8, inverse = scale != 0 ? 1 / scale : 0;
  to.at[0] = half_bits(scale);
  const uint per_word = elements_of_word(type);
  for (uint w = 0; w < 32 / per_word; ++w) {
    uint word = 0;
    for (uint e = 0; e < per_word; ++e) {
      const float x = from.at[first + w * per_word + e] * inverse;
      word |= bytes ? (uint(int(clamp(round_away(x), -127, 127))) & 0xffu) << 8 * e
                    : uint(clamp(floor(x + 8.5), 0, 15)) << 4 * e;
    }
    to.at[(1 + w) * stride] = word;
  }
}

void store_piece(Floats from, uint first, uint piece, uint width, uint type, uint64_t row, uint stride) {
  if (has_blocks(type))
    store_block(from, first + 32 * piece, type, Words(row + 4 * piece * block_words(type) * stride), stride);
  else
    Words(row).at[piece * stride] = element_word(from, first, piece, width, type);
}

void main() {
  const uint row = gl_WorkGroupID.y, key_words = words_of(KEY_TYPE, key_width), value_words = words_of(VALUE_TYPE, value_width);
  const uint key_pieces = pieces_of(KEY_TYPE, key_width), value_pieces = pieces_of(VALUE_TYPE, value_width);
  uint i = gl_GlobalInvocationID.x;
  if (i >= heads * (key_pieces + value_pieces)) return;
  const uint position = positions.at[row], token = position % block_tokens;
  const uint block = table.at[row_sequences.at[row] * table_width + position / block_tokens];
  const uint64_t memory = cache + block * block_bytes;
  if (i < heads * key_pieces) {
    const uint head = i / key_pieces;
    store_piece(k, row * k_stride + head * key_width, i % key_pieces, key_width, KEY_TYPE,
                memory + 4 * (head * key_words * block_tokens + token), block_tokens);
  } else {
    i -= heads * key_pieces;
    const uint head = i / value_pieces;
    store_piece(v, row * v_stride + head * value_width, i % value_pieces, value_width, VALUE_TYPE,
                memory + 4 * (heads * key_words * block_tokens + (head * block_tokens + token) * value_words), 1);
  }
}
