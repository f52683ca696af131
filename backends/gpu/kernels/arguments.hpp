// What each kernel is launched with: plain data, the same on host and device. Pointers are the device's.
#pragma once

#include <cstdint>

namespace nacelle::gpu {

// Rows of f32, `stride` elements apart; a stride is a multiple of 4, so that rows start on 16 bytes.
struct Rows {
  float* data;
  std::uint32_t width, stride;
};

// Every kernel is launched for as many rows as its bucket holds and does as many as the step has: the true count lies
// in the step's header.
using Count = const std::uint32_t*;

// A matrix [rows, columns] in the layout of kernels/weights.hpp. Which arrays there are depends on the format.
struct PackedWeights {
  const std::uint8_t* codes;
  const std::uint8_t* high;    // the upper bits of codes wider than 4
  const std::uint8_t* scales;  // of each 32 columns
  const std::uint8_t* supers;  // of each 256 columns
  std::uint32_t rows, columns;
  std::uint32_t panels;               // of 16 rows
  std::uint32_t tiles;                // of a panel: 32 columns in a block format, else 16
  std::uint32_t slices, slice_tiles;  // how the sum over the columns is cut, from their number alone
};

struct EmbeddingArguments {
  PackedWeights table;
  const std::uint32_t* tokens;
  const std::uint32_t* previous;  // best candidates of the previous step: NACELLE_TOKEN_FROM_PREVIOUS
  std::uint32_t previous_count;
  float scale;
  Rows out;
  Count count;
};

// Activations as the tensor cores take them: f16 with a power of two a row, or bf16.
struct EncodedRows {
  std::uint16_t* data;  // [row][stride], zeros past the width
  float* scales;        // [row]: what the row was divided by
  float* sums;          // [row][stride / 16]: of each 16 encoded elements
  std::uint32_t stride;
};

struct EncodeArguments {
  Rows x;
  EncodedRows out;
  std::uint32_t bfloat16;  // nonzero: no scales
  Count count;
};

struct MatmulArguments {
  PackedWeights weights;
  Rows x;               // plain kernels
  EncodedRows encoded;  // tensor kernels
  Rows out;
  const float* bias;      // [rows of the weights], or nullptr
  const float* residual;  // like `out`, or nullptr
  std::uint32_t residual_stride;
  Count count;
};

// A matrix as rows of 16-bit elements, for a vendor's library.
struct UnpackArguments {
  PackedWeights weights;
  std::uint16_t* out;  // [panels * 16][stride]
  std::uint32_t stride;
};

struct NormArguments {
  Rows x, out;
  const float* weight;  // [group], or nullptr
  const float* bias;
  float epsilon, weight_offset;
  std::uint32_t group;  // columns normalised together
  Count count;
};

struct RopeTableArguments {
  const std::uint32_t* positions;
  const float* frequencies;  // [pairs]
  float magnitude;
  std::uint32_t pairs;
  float* out;  // [row][stride]: cosines, then sines
  std::uint32_t stride;
  Count count;
};

struct RopeArguments {
  Rows x, out;
  const float* table;  // as RopeTableArguments::out
  std::uint32_t table_stride;
  std::uint32_t head_width, pairs;
  std::uint32_t half;  // pairs are (i, i + pairs), else (2i, 2i + 1)
  Count count;
};

// UNARY, GATED, SCALE, ADD, MUL and XIELU, element by element; `b` has one row for all where b_stride is 0.
struct ElementArguments {
  Rows a, out;
  const float* b;
  std::uint32_t b_stride;
  std::uint32_t activation;       // NACELLE_ACT_*
  float clamp, alpha, up_offset;  // GATED
  float scale, shift, soft_cap;   // SCALE
  const float* parameters;        // [4] of XIELU
  Count count;
};

// POSITION_SCALE.
struct PositionScaleArguments {
  Rows x, out;
  const std::uint32_t* positions;
  float strength;
  std::uint32_t length, offset;
  Count count;
};

// Columns [from, from + width) of x to [to, to + width) of out; rows by `indices` where it is not nullptr.
struct CopyArguments {
  Rows x, out;
  std::uint32_t from, to, width;
  const std::uint32_t* indices;
  Count x_count;
  Count count;
};

struct PoolArguments {
  Rows x, out;
  const std::uint32_t* sequence_starts;
  std::uint32_t pooling;  // NACELLE_POOL_*
  Count rows, count;
};

// A layer's part of a paged cache group: [block][layer][head][keys: token rows | values: token rows].
struct KvView {
  std::uint8_t* base;
  std::uint64_t block_bytes, key_offset, value_offset;
  std::uint32_t key_head_bytes, value_head_bytes;  // of a head's tokens in a block
  std::uint32_t key_row_bytes, value_row_bytes;
  std::uint32_t key_type, value_type;  // NACELLE_TYPE_*
  std::uint32_t block_tokens, block_count;
  const std::uint32_t* tables;  // [sequence][table_width]
  std::uint32_t table_width;
};

struct KvWriteArguments {
  KvView cache;
  Rows keys, values;  // values.data is nullptr where they alias the keys
  std::uint32_t heads, key_width, value_width;
  const std::uint32_t* positions;
  const std::uint32_t* row_sequences;
  Count count;
};

struct AttentionArguments {
  KvView cache;       // base is nullptr: the step's own rows are attended to
  Rows keys, values;  // the step's own rows
  Rows q, out;
  std::uint32_t heads, kv_heads, key_width, value_width;
  std::uint32_t value_stride;  // of the step's own rows: columns from one head to the next
  std::uint32_t causal, window;
  std::uint32_t chunked;  // the window is the length of a chunk
  float scale, soft_cap;
  float alibi_bias;
  const float* sinks;  // [heads], or nullptr
  const float* bias;   // [heads][2 * bias_reach + 1], or nullptr
  std::uint32_t bias_reach;
  const std::uint32_t* positions;
  const std::uint32_t* row_sequences;
  const std::uint32_t* sequence_starts;
  const std::uint32_t* sequence_lengths;
  std::uint32_t tile_rows;  // rows that a block takes
  std::uint32_t splits;     // of the bucket's context
  float* partial;           // [row][head][split][value_width + 2]: sum, maximum, mixed values; split kernels only
  Count count, sequence_count;
};

struct SelectArguments {
  Rows logits;
  float* adjusted;  // like the logits
  const std::uint32_t* masks;
  const std::uint32_t* flags;  // of the step header
  const float* temperatures;
  const std::uint32_t* adjustment_starts;
  const void* adjustments;  // nacelle_adjustment
  std::uint32_t candidates, stretches, adjustment_count;
  // Of each stretch of a row: its candidates, and maximum and sum of exponentials of raw and adjusted logits.
  std::uint32_t* stretch_ids;
  float* stretch_values;
  float* summaries;  // [row][stretch][4]
  // The output block.
  std::uint32_t* ids;
  float* out_adjusted;
  float* out_raw;
  float* logsumexp;
  std::uint32_t* best;  // [row]: for the next step
  Count count;
};

// A layer's part of a group of states: [block][layer][f32 values]. A sequence's rows follow one another; where the
// first one is at position 0 its state is taken for zeros.
struct StateView {
  std::uint8_t* base;  // of the layer in the first block
  std::uint64_t block_bytes;
  const std::uint32_t* tables;  // [sequence][table_width], of which the first entry is the state's block
  std::uint32_t table_width;
  const std::uint32_t* positions;
  const std::uint32_t* sequence_starts;
};

// nacelle_scan_attributes has the formula.
struct ScanArguments {
  StateView state;
  Rows q, k, v, steps, out;
  Rows strength;           // data is nullptr: the step is
  const float* rate;       // [heads], or [heads * key_width]
  const float* step_bias;  // like a row of steps, or nullptr
  const float* skip;       // [heads], or nullptr
  std::uint32_t heads, groups, key_width, value_width;
  std::uint32_t delta;     // NACELLE_SCAN_DELTA, else ADD
  std::uint32_t each_row;  // of the state has a rate of its own
  float scale;
  Count sequence_count;
};

struct ConvolutionArguments {
  StateView state;
  Rows x, out;
  const float* filters;  // [width][taps]
  const float* bias;     // [width], or nullptr
  std::uint32_t taps;
  std::uint32_t activation;  // NACELLE_ACT_*; 0: none
  const std::uint32_t* row_sequences;
  Count count;
};

struct BlockCopyArguments {
  std::uint8_t* base;
  std::uint64_t block_bytes;
  std::uint32_t from, to;
};

struct MoeRouteArguments {
  Rows scores;
  const float* bias;  // [experts], or nullptr
  std::uint32_t* experts;
  Rows weights;
  std::uint32_t expert_stride;
  std::uint32_t expert_count, used_count, routing, renormalise, group_count, group_used;
  float scale;
  Count count;
};

struct MoeMatmulArguments {
  PackedWeights weights;  // experts one below the other, each of `expert_panels` panels
  std::uint32_t expert_count, used_count, expert_panels, outputs, x_per_expert;
  Rows x, out;
  const std::uint32_t* experts;
  std::uint32_t expert_stride;
  const float* bias;
  Count count;
};

struct MoeCombineArguments {
  Rows y, weights, out;
  std::uint32_t used_count;
  Count count;
};

constexpr std::uint32_t kMaxRank = 256;  // of adapters

struct AdapterEntry {
  const float* a;  // [rank, columns], one after the other where there are experts
  const float* b;  // [rows, rank]
  float scale;
  std::uint32_t rank;  // 0: none
};

struct AdapterArguments {
  Rows base, x, out;
  const std::uint32_t* slots;
  const AdapterEntry* entries;  // of the target, by slot
  std::uint32_t entry_count;
  // Where the target is experts: those that each row has chosen, else nullptr. A block has `outputs` columns of a row,
  // those of one of its experts or all, and `columns` of x from its number times x_step on.
  const std::uint32_t* experts;
  std::uint32_t expert_stride, expert_count, outputs, columns, x_step;
  Count count;
};

}  // namespace nacelle::gpu
