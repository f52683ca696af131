// A causal convolution along each sequence; a thread has a column. Rows work side by side, each in a workgroup of its own,
// but for the sequence's first ones of the step, which look back into the state: one workgroup does those, in order, and
// then writes the new state, so that nobody reads what has been overwritten.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 1) const uint ACTIVATION = 0;  // NACELLE_ACT_*; 0: none
#include "activation.glsl"
layout(push_constant) uniform Push {
  Floats x, filters;  // filters: [width][taps]
  uint64_t bias;      // 0: none
  Floats y;
  uint64_t states;    // [block][taps - 1][width]: the latest rows, the last one last
  Words block;        // the step block
  uint width, taps, x_stride, y_stride;
  uint tables, table_width, starts, positions, row_sequences;  // in the step block, in words
};

// Row `place` of the rows from the state's first one on, the step's own behind it.
float row_of(Floats state, bool fresh, uint begin, uint place, uint column) {
  if (place >= taps - 1) return x.at[(begin + place - (taps - 1)) * x_stride + column];
  return fresh ? 0 : state.at[place * width + column];
}

void main() {
  const uint row = gl_WorkGroupID.y, sequence = block.at[row_sequences + row], column = gl_GlobalInvocationID.x;
  const uint begin = block.at[starts + sequence], end = block.at[starts + sequence + 1];
  const bool leads = row == begin;
  if (column >= width || (!leads && row - begin < taps - 1)) return;
  Floats state = Floats(states + 4 * uint64_t(block.at[tables + sequence * table_width]) * ((taps - 1) * width));
  const bool fresh = block.at[positions + begin] == 0;
  const uint last = leads ? min(begin + taps - 1, end) : row + 1;
  for (uint r = row; r < last; ++r) {
    float sum = bias != 0 ? Floats(bias).at[column] : 0;
    for (uint i = 0; i < taps; ++i)
      sum = fma(filters.at[column * taps + i], row_of(state, fresh, begin, r - begin + i, column), sum);
    if (ACTIVATION != 0) sum = activate(sum, 1);
    y.at[r * y_stride + column] = sum;
  }
  if (!leads) return;
  for (uint i = 0; i + 1 < taps; ++i)  // upwards: a row is read before it is written
    state.at[i * width + column] = row_of(state, fresh, begin, end - begin + i, column);
}
