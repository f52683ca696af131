// Rows of activations for matmul.comp's int8 kind: a thread makes a block of 32 elements, 10 words: d = max |x| / 127, the
// sum of the codes, and the codes x / d. Four codes to a word: in their order, or where weights are nibbles in the order
// in which a mask brings those out, 0 2 4 6, then 1 3 5 7.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint NIBBLES = 0;
layout(push_constant) uniform Push {
  Floats x;
  Words y;
  uint k, blocks, x_stride, y_stride;
};

void main() {
  const uint row = gl_WorkGroupID.y, block = gl_GlobalInvocationID.x;
  if (block >= blocks) return;
  const uint from = row * x_stride + block * 32, to = row * y_stride + block * 10;
  float peak = 0;
  [[unroll]] for (uint i = 0; i < 32; ++i) peak = max(peak, block * 32 + i < k ? abs(x.at[from + i]) : 0);
  const float inverse = peak > 0 ? 127 / peak : 0;
  int sum = 0;
  [[unroll]] for (uint w = 0; w < 8; ++w) {
    uint word = 0;
    [[unroll]] for (uint e = 0; e < 4; ++e) {
      const uint i = NIBBLES != 0 ? w / 2 * 8 + 2 * e + w % 2 : 4 * w + e;
      const int code = block * 32 + i < k ? int(roundEven(clamp(x.at[from + i] * inverse, -127, 127))) : 0;
      word |= (uint(code) & 0xffu) << 8 * e;
      sum += code;
    }
    y.at[to + 2 + w] = word;
  }
  y.at[to] = floatBitsToUint(peak / 127);
  y.at[to + 1] = uint(sum);
}
