// The paged KV cache. A block of a layer holds its keys as words [head][word][token], so that lanes with a token each read
// side by side, then its values as words [head][token][word], for lanes with columns each. A word is one f32, or two
// elements of 16 bits.
#define KV_F32 0
#define KV_F16 1
#define KV_BF16 2

uint words_of(uint type, uint width) { return type == KV_F32 ? width : (width + 1) / 2; }

vec2 unpack_pair(uint type, uint word) {
  if (type == KV_F16) return unpackHalf2x16(word);
  return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
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
