// Operations that work row by row. backends/reference says what each means; sums are made in an order that follows from
// the width alone.
#pragma once

#include <nacelle/graph.h>

#include "backends/gpu/kernels/weights.hpp"

namespace nacelle::gpu {

SIMT_DEVICE float* row_of(const Rows& rows, std::uint32_t row) {
  return rows.data + static_cast<std::uint64_t>(row) * rows.stride;
}

// ---- Sums over a block of up to 256 threads; every thread gets the result. `parts` may be used again after the next
// barrier.

struct Add {
  static SIMT_DEVICE float of(float a, float b) { return a + b; }
};
struct Max {
  static SIMT_DEVICE float of(float a, float b) { return fmaxf(a, b); }
};

template <class Operation>
SIMT_DEVICE float reduce(float value, const simt::Shared<float>& parts) {
  for (std::uint32_t mask = 16; mask; mask /= 2) value = Operation::of(value, simt::shuffle_xor(value, mask));
  simt::barrier();  // whoever still reads the parts of an earlier sum
  if (simt::lane() == 0) parts[simt::warp()] = value;
  simt::barrier();
  value = parts[0];
  for (std::uint32_t i = 1; i < simt::threads() / simt::kLanes; ++i) value = Operation::of(value, parts[i]);
  return value;
}

// ---- Embedding

template <class Weights>
SIMT_KERNEL(256)
embedding(const EmbeddingArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.out.width) return;
  std::uint32_t token = a.tokens[row];
  if (token >> 31) {
    token &= 0x7fffffffu;
    token = a.previous[token < a.previous_count ? token : 0];
  }
  // An id outside the table must not read outside its memory.
  if (token >= a.table.rows) token = a.table.rows - 1;
  row_of(a.out, row)[column] = a.scale * Weights::element(a.table, token, column);
}

// ---- Norms. Grid: groups of a row, rows.

SIMT_KERNEL(256) rms_norm(const NormArguments a) {
  const std::uint32_t row = simt::block_y(), first = simt::block_x() * a.group;
  if (row >= *a.count) return;
  SIMT_SHARED(float, parts, 8);
  const float* x = row_of(a.x, row) + first;
  float* y = row_of(a.out, row) + first;
  float squares = 0;
  for (std::uint32_t i = simt::thread(); i < a.group; i += simt::threads()) squares = fmaf(x[i], x[i], squares);
  squares = reduce<Add>(squares, parts);
  const float factor = 1 / sqrtf(squares / static_cast<float>(a.group) + a.epsilon);
  for (std::uint32_t i = simt::thread(); i < a.group; i += simt::threads())
    y[i] = x[i] * factor * (a.weight ? a.weight[i] + a.weight_offset : 1.0f);
}

SIMT_KERNEL(256) layer_norm(const NormArguments a) {
  const std::uint32_t row = simt::block_y(), first = simt::block_x() * a.group;
  if (row >= *a.count) return;
  SIMT_SHARED(float, parts, 8);
  const float* x = row_of(a.x, row) + first;
  float* y = row_of(a.out, row) + first;
  float sum = 0, squares = 0;
  for (std::uint32_t i = simt::thread(); i < a.group; i += simt::threads()) sum = sum + x[i];
  const float mean = reduce<Add>(sum, parts) / static_cast<float>(a.group);
  for (std::uint32_t i = simt::thread(); i < a.group; i += simt::threads())
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  squares = reduce<Add>(squares, parts);
  const float factor = 1 / sqrtf(squares / static_cast<float>(a.group) + a.epsilon);
  for (std::uint32_t i = simt::thread(); i < a.group; i += simt::threads())
    y[i] = fmaf((x[i] - mean) * factor, a.weight ? a.weight[i] + a.weight_offset : 1.0f, a.bias ? a.bias[i] : 0.0f);
}

SIMT_KERNEL(256) normalise(const ElementArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  SIMT_SHARED(float, parts, 8);
  const float* x = row_of(a.a, row);
  float* y = row_of(a.out, row);
  float squares = 0;
  for (std::uint32_t i = simt::thread(); i < a.out.width; i += simt::threads()) squares = fmaf(x[i], x[i], squares);
  const float length = sqrtf(reduce<Add>(squares, parts));
  for (std::uint32_t i = simt::thread(); i < a.out.width; i += simt::threads())
    y[i] = length > 0 ? x[i] / length : 0.0f;
}

SIMT_KERNEL(256) softmax(const ElementArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  SIMT_SHARED(float, parts, 8);
  const float* x = row_of(a.a, row);
  float* y = row_of(a.out, row);
  float peak = -INFINITY, sum = 0;
  for (std::uint32_t i = simt::thread(); i < a.out.width; i += simt::threads()) peak = fmaxf(peak, x[i]);
  peak = reduce<Max>(peak, parts);
  for (std::uint32_t i = simt::thread(); i < a.out.width; i += simt::threads()) sum = sum + expf(x[i] - peak);
  sum = reduce<Add>(sum, parts);
  for (std::uint32_t i = simt::thread(); i < a.out.width; i += simt::threads()) y[i] = expf(x[i] - peak) / sum;
}

// ---- Rotary position embedding

// Angles of thousands of radians need double; they are made once a step for all layers.
SIMT_KERNEL(256) rope_table(const RopeTableArguments a) {
  const std::uint32_t row = simt::block_y(), pair = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || pair >= a.pairs) return;
  const double angle = static_cast<double>(a.positions[row]) * static_cast<double>(a.frequencies[pair]);
  float* to = a.out + static_cast<std::uint64_t>(row) * a.stride;
  to[pair] = static_cast<float>(cos(angle) * static_cast<double>(a.magnitude));
  to[a.pairs + pair] = static_cast<float>(sin(angle) * static_cast<double>(a.magnitude));
}

// A thread writes one element.
SIMT_KERNEL(256) rope(const RopeArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.out.width) return;
  const float* head = row_of(a.x, row) + column / a.head_width * a.head_width;
  const std::uint32_t i = column % a.head_width;
  float value = head[i];
  if (i < 2 * a.pairs) {
    const std::uint32_t pair = a.half ? i % a.pairs : i / 2;
    const bool first = a.half ? i < a.pairs : i % 2 == 0;
    const float other = head[a.half ? (first ? i + a.pairs : i - a.pairs) : i ^ 1];
    const float* table = a.table + static_cast<std::uint64_t>(row) * a.table_stride;
    const float cosine = table[pair], sine = table[a.pairs + pair];
    value = first ? fmaf(value, cosine, -(other * sine)) : fmaf(value, cosine, other * sine);
  }
  row_of(a.out, row)[column] = value;
}

// ---- Element by element

SIMT_DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }

SIMT_DEVICE float activate(std::uint32_t activation, float x, float alpha) {
  switch (activation) {
    case NACELLE_ACT_SILU: return x * sigmoid(alpha * x);
    case NACELLE_ACT_GELU_ERF: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    case NACELLE_ACT_GELU_TANH: return 0.5f * x * (1 + tanhf(0.79788456080286536f * fmaf(0.044715f * x * x, x, x)));
    case NACELLE_ACT_GELU_QUICK: return x * sigmoid(1.702f * x);
    case NACELLE_ACT_RELU: return fmaxf(x, 0.0f);
    case NACELLE_ACT_TANH: return tanhf(x);
    default: return sigmoid(x);
  }
}

SIMT_DEVICE float gate(const ElementArguments& a, float gate_value, float up) {
  if (a.clamp > 0) {
    gate_value = fminf(gate_value, a.clamp);
    up = fminf(fmaxf(up, -a.clamp), a.clamp);
  }
  return activate(a.activation, gate_value, a.alpha) * (up + a.up_offset);
}

struct UnaryElement {
  static SIMT_DEVICE float of(const ElementArguments& a, float x, float) { return activate(a.activation, x, 1); }
};
struct GatedElement {
  static SIMT_DEVICE float of(const ElementArguments& a, float x, float up) { return gate(a, x, up); }
};
struct AddElement {
  static SIMT_DEVICE float of(const ElementArguments&, float x, float y) { return x + y; }
};
struct MulElement {
  static SIMT_DEVICE float of(const ElementArguments&, float x, float y) { return x * y; }
};
struct ScaleElement {
  static SIMT_DEVICE float of(const ElementArguments& a, float x, float) {
    const float scaled = fmaf(x, a.scale, a.shift);
    return a.soft_cap != 0 ? a.soft_cap * tanhf(scaled / a.soft_cap) : scaled;
  }
};

// log(1 + e^x), without overflow.
SIMT_DEVICE float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// e^x - 1 - x for x up to 0: near 0, where its parts cancel, by the series x^2 / 2! + x^3 / 3! + ...
SIMT_DEVICE float exp_beyond_line(float x) {
  if (x < -0.5f) return expf(x) - 1 - x;
  float series = fmaf(2.7557319e-6f, x, 2.4801587e-5f);
  series = fmaf(series, x, 1.9841270e-4f);
  series = fmaf(series, x, 1.3888889e-3f);
  series = fmaf(series, x, 8.3333333e-3f);
  series = fmaf(series, x, 4.1666667e-2f);
  series = fmaf(series, x, 1.6666667e-1f);
  return fmaf(series, x, 0.5f) * (x * x);
}

struct XieluElement {
  static SIMT_DEVICE float of(const ElementArguments& a, float x, float) {
    const float* p = a.parameters;
    const float line = p[2] * x;
    if (x > 0) return fmaf(softplus(p[0]) * x, x, line);
    const float cut = fminf(x, p[3]);
    return fmaf(p[2] + softplus(p[1]), exp_beyond_line(cut) + (cut - x), line);
  }
};

template <class Element>
SIMT_KERNEL(256)
elements(const ElementArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.out.width) return;
  const float other = a.b ? a.b[static_cast<std::uint64_t>(row) * a.b_stride + column] : 0.0f;
  row_of(a.out, row)[column] = Element::of(a, row_of(a.a, row)[column], other);
}

SIMT_KERNEL(256) position_scale(const PositionScaleArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.out.width) return;
  const std::uint32_t steps = (a.positions[row] + a.offset) / a.length;
  const float factor = fmaf(a.strength, log1pf(static_cast<float>(steps)), 1.0f);
  row_of(a.out, row)[column] = row_of(a.x, row)[column] * factor;
}

// ---- Rows and columns moved about

SIMT_KERNEL(256) copy_columns(const CopyArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.width) return;
  std::uint32_t from = a.indices ? a.indices[row] : row;
  if (from >= *a.x_count) from = *a.x_count ? *a.x_count - 1 : 0;
  row_of(a.out, row)[a.to + column] = row_of(a.x, from)[a.from + column];
}

SIMT_KERNEL(256) pool(const PoolArguments a) {
  const std::uint32_t sequence = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (sequence >= *a.count || column >= a.out.width) return;
  std::uint32_t begin = a.sequence_starts[sequence], end = a.sequence_starts[sequence + 1];
  if (end > *a.rows) end = *a.rows;
  if (a.pooling == NACELLE_POOL_FIRST && begin + 1 < end) end = begin + 1;
  if (a.pooling == NACELLE_POOL_LAST && end > begin) begin = end - 1;
  float sum = 0;
  for (std::uint32_t row = begin; row < end; ++row) sum = sum + row_of(a.x, row)[column];
  row_of(a.out, sequence)[column] = begin < end ? sum / static_cast<float>(end - begin) : 0.0f;
}

}  // namespace nacelle::gpu
