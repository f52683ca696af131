// y = x w^T (+ bias) (+ residual) for many rows on the hardware's cooperative matrices: a workgroup makes 64 rows of 64
// columns. 32 of K at a time, rows and weights come into shared memory as f16 and are multiplied into f32, tiles of M x N
// by K, each tile's sum by one subgroup. Elements of x beyond f16's range are cut to it. Another numerics class than
// matmul.comp's, with no shader for few rows: for `numerics: fastest` alone.
//
// Written in the words of GL_NV_cooperative_matrix, which older compilers know too; khr_matrix.cpp turns the result into
// SPV_KHR_cooperative_matrix, for drivers of every vendor. M, N and K are constants of their own so that the three kinds
// of matrices stay types of their own.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_NV_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model
#include "common.glsl"

layout(constant_id = 2) const uint M = 16;
layout(constant_id = 3) const uint N = 16;
layout(constant_id = 4) const uint K = 16;
layout(constant_id = 5) const uint TILES = 4;  // of a subgroup

layout(push_constant) uniform Push {
  Floats x;
  Words4 codes;
  Words headers;
  uint64_t bias, residual;
  Floats y;
  Words row_count;
  uint columns, k, blocks, slices, slice_blocks, x_stride, y_stride, residual_stride, extra_bytes;
};
#define EXTRA_BYTES extra_bytes
#include "weights.glsl"

const uint kSide = 64, kStride = 40;  // of a row of 32 elements in shared memory, which start on 16 bytes
const float kLargest = 65504;
shared float16_t rows_of_x[kSide * kStride], rows_of_w[kSide * kStride];
shared float results[kSide * kSide];

void load_block_of_x(uint block, uint first_row, uint last_row) {
  for (uint i = gl_LocalInvocationID.x; i < kSide * 32; i += kThreads) {
    const uint row = i / 32, at = block * 32 + i % 32;
    const float value = at < k ? x.at[min(first_row + row, last_row) * x_stride + at] : 0;
    rows_of_x[row * kStride + i % 32] = float16_t(clamp(value, -kLargest, kLargest));
  }
}

void load_block_of_w(Matrix m, uint block) {
  for (uint column = gl_LocalInvocationID.x; column < kSide; column += kThreads) {
    const uint panel = min(gl_WorkGroupID.x * 2 + column / kColumns, (columns + kColumns - 1) / kColumns - 1);
    const Block b = load_block(m, panel, block, column % kColumns);
    [[unroll]] for (uint i = 0; i < 32; ++i) rows_of_w[column * kStride + i] = float16_t(weight(b, i));
  }
}

void main() {
  Matrix m = Matrix(codes, headers, blocks);
  const uint rows = row_count.at[0], first_row = gl_WorkGroupID.y * kSide, first_tile = gl_SubgroupID * TILES;
  fcoopmatNV<32, gl_ScopeSubgroup, M, N> sums[TILES];
  [[unroll]] for (uint t = 0; t < TILES; ++t) sums[t] = fcoopmatNV<32, gl_ScopeSubgroup, M, N>(0.0);
  for (uint block = 0; block < blocks; ++block) {
    load_block_of_x(block, first_row, rows - 1);
    load_block_of_w(m, block);
    barrier();
    [[unroll]] for (uint t = 0; t < TILES; ++t) {
      const uint row = (first_tile + t) / (kSide / N) * M, column = (first_tile + t) % (kSide / N) * N;
      [[unroll]] for (uint i = 0; i < 32; i += K) {
        fcoopmatNV<16, gl_ScopeSubgroup, M, K> a;
        fcoopmatNV<16, gl_ScopeSubgroup, K, N> b;
        coopMatLoadNV(a, rows_of_x, row * kStride + i, kStride, false);
        coopMatLoadNV(b, rows_of_w, column * kStride + i, kStride, true);
        sums[t] = coopMatMulAddNV(a, b, sums[t]);
      }
    }
    barrier();
  }
  [[unroll]] for (uint t = 0; t < TILES; ++t) {
    const uint row = (first_tile + t) / (kSide / N) * M, column = (first_tile + t) % (kSide / N) * N;
    coopMatStoreNV(sums[t], results, row * kSide + column, kSide, false);
  }
  barrier();
  for (uint i = gl_LocalInvocationID.x; i < kSide * kSide; i += kThreads) {
    const uint row = first_row + i / kSide, column = gl_WorkGroupID.x * kSide + i % kSide;
    if (row >= rows || column >= columns) continue;
    float value = results[i];
    if (bias != 0) value += Floats(bias).at[column];
    if (residual != 0) value += Floats(residual).at[row * residual_stride + column];
    y.at[row * y_stride + column] = value;
  }
}
