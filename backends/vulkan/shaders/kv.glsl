// The paged KV cache. A block of a layer holds its keys as words [head][word][token], so that lanes with a token each read
// side by side, then its values as words [head][token][word], for lanes with columns each. A row of a plain type is its
// elements, several to a word; one of a block type has, for each 32 elements, a word with the f16 scale, then the codes.
#define KV_F32 0
#define KV_F16 1
#define KV_BF16 2
#define KV_Q8_0 3
#define KV_Q4_0 4

uint elements_of_word(uint type) { return type == KV_F32 ? 1 : type == KV_Q4_0 ? 8 : type == KV_Q8_0 ? 4 : 2; }
bool has_blocks(uint type) { return type >= KV_Q8_0; }
uint block_words(uint type) { return 1 + 32 / elements_of_word(type); }
uint words_of(uint type, uint width) {
  if (has_blocks(type)) return width / 32 * block_words(type);
  return (width + elements_of_word(type) - 1) / elements_of_word(type);
}
// Where word `i` of a row's elements lies, scales not counted; and the scale that it goes with.
uint code_place(uint type, uint i) { return has_blocks(type) ? i + i / (32 / elements_of_word(type)) + 1 : i; }
uint scale_place(uint type, uint i) { return i / (32 / elements_of_word(type)) * block_words(type); }

// Element `e` of a word, without its scale. Times the scale it is exact.
float element(uint type, uint word, uint e) {
  if (type == KV_F32) return uintBitsToFloat(word);
  if (type == KV_F16) return unpackHalf2x16(word)[e];
  if (type == KV_BF16) return uintBitsToFloat(e == 0 ? word << 16 : word & 0xffff0000u);
  if (type == KV_Q8_0) return float(bitfieldExtract(int(word), int(8 * e), 8));
  return float(bitfieldExtract(word, int(4 * e), 4)) - 8;
}

// Rounding to nearest, ties to even, in integers (nacelle/half.hpp): packHalf2x16 may round as it likes.
uint half_bits(float value) {
  const uint bits = floatBitsToUint(value), sign_bit = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign_bit | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign_bit | 0x7c00u;
  if (magnitude < 0x38800000u) return sign_bit | (floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u);
  const uint rebased = magnitude - (112u << 23);
  return sign_bit | (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13;
}

uint bfloat_bits(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return bits + 0x7fffu + (bits >> 16 & 1u) >> 16;
}

uint pack_pair(uint type, float a, float b) {
  return type == KV_F16 ? half_bits(a) | half_bits(b) << 16 : bfloat_bits(a) | bfloat_bits(b) << 16;
}
