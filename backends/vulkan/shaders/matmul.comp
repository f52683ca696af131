// y[r] = x[r] w^T (+ bias) (+ residual[r]): a workgroup makes TILE_ROWS rows of 32 * TILE_PANELS columns, lane c of 32 the
// columns c of its panels. K is cut into slices, the same for every number of rows; a slice is summed in order with fused
// multiply-adds, and the slices are added in order. A workgroup has its slices side by side (few rows) or walks them one
// after the other (many rows): the sums are the same to the bit. Two kinds: with f32 activations; and, where INTEGER is
// set, with those of encode_rows.comp, whose blocks are multiplied as int8.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_EXT_spirv_intrinsics : enable
#include "common.glsl"
layout(local_size_y_id = 1) in;  // slices side by side: 1, or all of them

layout(constant_id = 2) const uint TILE_ROWS = 1;
layout(constant_id = 3) const uint TILE_PANELS = 1;
// Lanes that share what they load of x by broadcast: a subgroup's size, at most 32. 0: each lane loads all of it.
layout(constant_id = 4) const uint SHARED_LANES = 0;
const uint kLoads = SHARED_LANES == 0 ? 32 : 32 / SHARED_LANES;

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

shared float partial[gl_WorkGroupSize.y == 1 ? 1 : gl_WorkGroupSize.y * 32 * TILE_ROWS * TILE_PANELS];

float sums[TILE_ROWS * TILE_PANELS];  // of one slice

uint panel_of(uint p) {
  return min(gl_WorkGroupID.x * TILE_PANELS + p, (columns + kColumns - 1) / kColumns - 1);
}

#if INTEGER
// OpSDot of SPV_KHR_integer_dot_product, for which this glslang has no words of its own. Format 0: four int8 a word.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_int8(uint a, uint b, spirv_literal int format);

void add_block(Matrix m, uint block, uint column, uint first_row, uint last_row) {
  Block blocks_of[TILE_PANELS];
  [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p) blocks_of[p] = load_block(m, panel_of(p), block, column);
  [[unroll]] for (uint r = 0; r < TILE_ROWS; ++r) {
    const uint from = min(first_row + r, last_row) * x_stride + block * 10;
    const float factor = x.at[from];
    const int sum = floatBitsToInt(x.at[from + 1]);
    uint codes_of[8];
    [[unroll]] for (uint w = 0; w < 8; ++w) codes_of[w] = floatBitsToUint(x.at[from + 2 + w]);
    [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p) {
      const Block b = blocks_of[p];
      int products = 0;
#if FORMAT == FORMAT_Q8_0
      [[unroll]] for (uint w = 0; w < 8; ++w) products += dot_int8(b.codes[w / 4][w % 4], codes_of[w], 0);
      const float value = b.scale[0] * float(products);
#else
      [[unroll]] for (uint w = 0; w < 8; ++w)
        products += dot_int8(b.codes[0][w / 2] >> 4 * (w % 2) & 0x0f0f0f0fu, codes_of[w], 0);
      const int offset = FORMAT == FORMAT_Q4_0 ? 8 : 0;
      const float value = fma(b.scale[0], float(products - offset * sum), -b.low[0] * float(sum));
#endif
      sums[r * TILE_PANELS + p] = fma(factor, value, sums[r * TILE_PANELS + p]);
    }
  }
}
#else
// Rows past the last read the last row and are not stored; elements of x past K meet weights of zero.
void load_x(uint row, uint last_row, uint block, uint lane, out float loaded[kLoads]) {
  const uint base = min(row, last_row) * x_stride;
  [[unroll]] for (uint j = 0; j < kLoads; ++j)
    loaded[j] = x.at[base + min(block * 32 + (SHARED_LANES == 0 ? j : j * SHARED_LANES + lane), k - 1)];
}

void add_block(Matrix m, uint block, uint column, uint first_row, uint last_row) {
  const uint lane = SHARED_LANES == 0 ? 0 : gl_SubgroupInvocationID % SHARED_LANES;
  float loaded[TILE_ROWS][kLoads];
  [[unroll]] for (uint r = 0; r < TILE_ROWS; ++r) load_x(first_row + r, last_row, block, lane, loaded[r]);
  Block blocks_of[TILE_PANELS];
  [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p) blocks_of[p] = load_block(m, panel_of(p), block, column);
  [[unroll]] for (uint i = 0; i < 32; ++i) {
    float w[TILE_PANELS];
    [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p) w[p] = weight(blocks_of[p], i);
    [[unroll]] for (uint r = 0; r < TILE_ROWS; ++r) {
      const float xi = SHARED_LANES == 0 ? loaded[r][i]
                                         : subgroupBroadcast(loaded[r][i / max(SHARED_LANES, 1)], i % max(SHARED_LANES, 1));
      [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p)
        sums[r * TILE_PANELS + p] = fma(w[p], xi, sums[r * TILE_PANELS + p]);
    }
  }
}
#endif

void store(uint row, uint column, float value) {
  if (bias != 0) value += Floats(bias).at[column];
  if (residual != 0) value += Floats(residual).at[row * residual_stride + column];
  y.at[row * y_stride + column] = value;
}

void main() {
  Matrix m = Matrix(codes, headers, blocks);
  const uint column = gl_LocalInvocationID.x, lanes_y = gl_WorkGroupSize.y;
  const uint rows = row_count.at[0], first_row = gl_WorkGroupID.y * TILE_ROWS;
  float totals[TILE_ROWS * TILE_PANELS];
  [[unroll]] for (uint i = 0; i < TILE_ROWS * TILE_PANELS; ++i) totals[i] = 0;
  for (uint slice = gl_LocalInvocationID.y; slice < slices; slice += lanes_y) {
    [[unroll]] for (uint i = 0; i < TILE_ROWS * TILE_PANELS; ++i) sums[i] = 0;
    const uint end = min((slice + 1) * slice_blocks, blocks);
    for (uint block = slice * slice_blocks; block < end; ++block) add_block(m, block, column, first_row, rows - 1);
    [[unroll]] for (uint i = 0; i < TILE_ROWS * TILE_PANELS; ++i)
      if (lanes_y == 1)
        totals[i] += sums[i];
      else
        partial[(slice * TILE_ROWS * TILE_PANELS + i) * 32 + column] = sums[i];
  }
  if (lanes_y > 1) {
    barrier();
    if (gl_LocalInvocationID.y != 0) return;
    for (uint slice = 0; slice < slices; ++slice)
      [[unroll]] for (uint i = 0; i < TILE_ROWS * TILE_PANELS; ++i)
        totals[i] += partial[(slice * TILE_ROWS * TILE_PANELS + i) * 32 + column];
  }
  [[unroll]] for (uint r = 0; r < TILE_ROWS; ++r)
    [[unroll]] for (uint p = 0; p < TILE_PANELS; ++p) {
      const uint panel = gl_WorkGroupID.x * TILE_PANELS + p, n = panel * kColumns + column;
      if (first_row + r < rows && n < columns) store(first_row + r, n, totals[r * TILE_PANELS + p]);
    }
}
