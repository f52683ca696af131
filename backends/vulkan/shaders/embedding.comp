// y[r] = scale * table[token of r]: a thread decodes blocks of 32. A token may be the best candidate of a row of the
// previous step; one that is no token (every one was masked) counts as 0.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant) uniform Push {
  Words tokens, best;
  Words4 codes;
  Words headers;
  Floats y;
  uint vocabulary, k, blocks, y_stride, extra_bytes;
  float scale;
};
#define EXTRA_BYTES extra_bytes
#include "weights.glsl"

void main() {
  // Lavapipe loads for lanes that have returned too: their addresses must hold.
  const uint row = gl_WorkGroupID.y, block = min(gl_GlobalInvocationID.x, blocks - 1);
  uint token = tokens.at[row];
  if ((token & 0x80000000u) != 0) token = best.at[token & 0x7fffffffu];
  if (token >= vocabulary) token = 0;
  const Block b = load_block(Matrix(codes, headers, blocks), token / kColumns, block, token % kColumns);
  [[unroll]] for (uint i = 0; i < 32; ++i)
    if (block * 32 + i < k) y.at[row * y_stride + block * 32 + i] = weight(b, i) * scale;
}
