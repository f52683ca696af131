// The tables of functions that each ISA's translation unit exports. Plain C-style signatures: a kernel sees pointers
// and counts, knows nothing of graphs, and allocates nothing. [any thread]
//
// Numerics: a kernel computes each output element in an order that depends on that element alone, never on how many
// rows or columns share the call. That is what makes a row's bits independent of batch, chunk and thread count.
#pragma once

#include <cstdint>

#include "backends/cpu/isa.hpp"

namespace nacelle::cpu {

// Weights are packed in groups of 16 output rows, lane = output row; activations rows are padded to as many columns.
inline constexpr std::uint32_t kGroupRows = 16;
inline constexpr std::uint32_t kQuantBlock = 32;  // columns of a row of activations that share a scale

// ---- Matmul -------------------------------------------------------------------------------------------------------

// How a kernel wants its activations. Rows of float are used as they are; the others are encoded first.
enum class Activation { kFloat, kBf16, kInt8 };

// Bytes of an encoded row of `columns`, a multiple of 64. kInt8 holds, one after the other, the values, f32
// scales[columns / 32], and up to 8 bytes a block that depend on the weights' format (encode.hpp).
constexpr std::uint64_t encoded_row_bytes(Activation activation, std::uint64_t columns) {
  const std::uint64_t blocks = (columns + kQuantBlock - 1) / kQuantBlock;
  const std::uint64_t element = activation == Activation::kFloat ? 4 : activation == Activation::kInt8 ? 1 : 2;
  const std::uint64_t of_block = activation == Activation::kInt8 ? 12 : 0;
  return (blocks * (element * kQuantBlock + of_block) + 63) / 64 * 64;
}

// x[rows, columns] times packed weights; `weights` and `out` point at the first group that is wanted.
struct MatmulCall {
  const std::uint8_t* weights;  // aligned to 64
  std::uint64_t group_bytes;
  std::uint32_t columns;  // K
  std::uint32_t rows;
  const std::uint8_t* x;
  std::uint64_t x_stride;    // bytes
  float* out;                // every group's 16 columns are written
  std::uint64_t out_stride;  // floats
};

// What a variant does to a lone row otherwise than the one of the same tile, which is as good for more rows.
enum class LoneRow {
  kAlike,
  kHinted,    // asks for the weights otherwise
  kStreamed,  // reads them past the caches: slower where they could stay in a cache, which never gets them so
};

// One way to multiply by weights of one type: an entry of the registry.
struct MatmulVariant {
  const char* name;  // XNNPACK style: activation, weight, tile, ISA
  std::uint32_t revision;
  std::uint32_t weight;  // nacelle_type
  Isa isa;
  double cost;           // static rank, smaller is better: cycles for 512 multiply-adds
  const char* numerics;  // variants of one class give equal bits
  Activation activation;
  std::uint32_t tile_rows;    // rows that share one pass over the weights
  std::uint32_t tile_groups;  // groups that share one pass over the rows
  // Encodes the 32-column blocks [begin, end) of one row, of which `x` holds these alone; null for Activation::kFloat.
  void (*encode)(const float* x, std::uint32_t columns, std::uint32_t begin, std::uint32_t end, std::uint8_t* row);
  // Computes `groups` groups: 16 * groups columns of each row.
  void (*multiply)(const MatmulCall& call, std::uint32_t groups);
  double intel_cost = 0;  // on Intel's cores, where that is not `cost`
  // Of a lone row, whose weights come from memory, where the one above ranks it wrongly.
  double lone_cost = 0, intel_lone_cost = 0;
  LoneRow lone_row = LoneRow::kAlike;
  std::uint32_t row_block = 0;  // rows of a call, a multiple of tile_rows; 0: kRowBlock
};

// ---- Attention ----------------------------------------------------------------------------------------------------

// Keys lie in tiles of 16 tokens, lane = token; values in a row a token. Block types keep an f16 scale for each 32
// columns of a token's whole row of heads, behind the integers.
inline constexpr std::uint32_t kTileTokens = 16;
// Softmax and the sum over values are done for this many tokens from a multiple of it, then merged left to right.
inline constexpr std::uint32_t kSplitTokens = 512;
constexpr std::uint32_t splits_of(std::uint32_t tokens) { return tokens / kSplitTokens + (tokens % kSplitTokens != 0); }
inline constexpr std::uint32_t kMaxQueries = 8;  // heads and rows that share one pass over keys and values

constexpr std::uint64_t padded(std::uint64_t n, std::uint64_t to = kTileTokens) { return (n + to - 1) / to * to; }

// Bytes of one head's tile of 16 keys, and of one head's value of one token; 0 for a type that no cache holds.
std::uint64_t key_tile_bytes(std::uint32_t type, std::uint32_t width) noexcept;
std::uint64_t value_row_bytes(std::uint32_t type, std::uint32_t width) noexcept;

// Where the keys and values of one head of one sequence lie, block by block.
struct KvView {
  std::uint8_t* base;
  const std::uint32_t* table;  // block of each block_tokens tokens
  std::uint64_t block_bytes;
  std::uint64_t key_offset, value_offset;            // of the head inside a block, bytes
  std::uint64_t key_head_stride, value_head_stride;  // bytes to the next head
  std::uint64_t key_tile_bytes, value_row_bytes;
  std::uint32_t block_tokens;
  std::uint32_t key_width, value_width;
};

// One query: a head of a row.
struct Query {
  const float* q;            // [key_width]
  float* out;                // [value_width]; of one split: [partial_floats(value_width)], aligned to 64
  std::uint32_t begin, end;  // tokens that are seen, at least one
  std::uint32_t position;    // its own, as biases count it
  float slope;               // ALiBi: slope * |token - position| is taken off; 0: none
  float sink;                // -infinity: none
  const float* bias;         // [2 * reach + 1], added by clamped distance token - position; or nullptr
};

struct KeyKernels;
struct ValueKernels;

struct AttentionCall {
  KvView kv;
  const KeyKernels* keys;
  const ValueKernels* values;
  std::uint32_t query_count;   // at most kMaxQueries
  Query queries[kMaxQueries];  // those past the last repeat any other: kernels round the count up
  std::uint32_t reach;
  float scale;
  float soft_cap;  // 0: none
  float* scratch;  // attention_scratch() floats, aligned to 64
};

constexpr std::uint64_t attention_scratch(std::uint32_t value_width) {
  return kMaxQueries * (kSplitTokens + kTileTokens + 2 * padded(value_width));
}

// What a query has of one split: its weighted sums of values, then its highest score and its sum of
// exp(score - highest).
constexpr std::uint64_t partial_floats(std::uint32_t value_width) { return padded(value_width) + kTileTokens; }

// Tokens [begin, end) of the split that starts at `start`. `next`: the first one that is read after them, or `begin`.
struct TokenRange {
  std::uint32_t start, begin, end, next;
};

// What depends on the type of the keys. `score` writes scale * q.k at scores[query * stride + token - start].
struct KeyKernels {
  std::uint32_t type;
  void (*score)(const AttentionCall& call, const TokenRange& range, float* scores);
  // Stores a token's row of keys, all heads; `kv` is the view of head 0.
  void (*store)(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row);
};

// And of the values. `blend` writes sums[query * padded(value_width)] = sum of weight * value.
struct ValueKernels {
  std::uint32_t type;
  void (*blend)(const AttentionCall& call, const TokenRange& range, const float* weights, float* sums);
  // `stride`: floats from one head's values to the next in `row`.
  // nullptr where the values are the first columns of the keys.
  void (*store)(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row, std::uint32_t stride);
};

// A query's bits depend on neither those beside it nor on whether its splits are run together.
struct AttentionKernels {
  void (*attend)(const AttentionCall& call);
  // Only the split that starts at token `start`; then the merging of `count` of them, `stride` floats apart.
  void (*attend_split)(const AttentionCall& call, std::uint32_t start);
  void (*merge_splits)(const float* partials, std::uint32_t count, std::uint64_t stride, float sink,
                       std::uint32_t value_width, float* scratch, float* out);
  const KeyKernels* keys;
  const ValueKernels *values, *aliases;  // aliases: values that are the first columns of the keys
  std::uint32_t type_count;              // entries of each
};

// ---- Vectors ------------------------------------------------------------------------------------------------------

struct GatedAttributes {
  std::uint32_t activation;  // NACELLE_ACT_*
  float clamp, alpha, up_offset;
};

// x > 0: rise x^2 + slope x; else fall (e^min(x, epsilon) - 1 - x) + slope x.
struct XieluAttributes {
  float rise, fall, slope, epsilon;
};

// Reduced facts of a stretch of logits.
struct LogitSummary {
  float highest;
  float sum;  // of exp(x - highest); 0 where highest is -infinity
};

// Lengths are in floats and free of any multiple; pointers may be unaligned. out may be x.
struct VectorKernels {
  void (*rms_norm)(const float* x, const float* weight, float offset, float epsilon, std::uint32_t n, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float offset, float epsilon,
                     std::uint32_t n, float* out);
  void (*normalise)(const float* x, std::uint32_t n, float* out);
  void (*softmax)(const float* x, std::uint32_t n, float* out);
  void (*add)(const float* a, const float* b, std::uint32_t n, float* out);
  void (*multiply)(const float* a, const float* b, std::uint32_t n, float* out);
  void (*scale)(const float* x, float scale, float shift, float soft_cap, std::uint32_t n, float* out);
  void (*unary)(std::uint32_t activation, const float* x, std::uint32_t n, float* out);
  void (*gated)(const GatedAttributes& attributes, const float* gate, const float* up, std::uint32_t n, float* out);
  void (*xielu)(const XieluAttributes& attributes, const float* x, std::uint32_t n, float* out);
  // Turns `pairs` pairs of one head by cos and sin: (i, i + pairs), or (2i, 2i + 1).
  void (*rotate_half)(const float* x, const float* cos, const float* sin, std::uint32_t pairs, float* out);
  void (*rotate_interleaved)(const float* x, const float* cos, const float* sin, std::uint32_t pairs, float* out);
  float (*dot)(const float* a, const float* b, std::uint32_t n);
  void (*add_scaled)(const float* x, float scale, std::uint32_t n, float* out);  // out += scale * x
  // Logits: the largest of each 256 go to `peaks`.
  LogitSummary (*summarise)(const float* x, std::uint32_t n, float* peaks);
  void (*divide)(const float* x, float by, std::uint32_t n, float* out);
  // out = x where the mask's bit is set, else -infinity. `mask` starts at a word.
  void (*mask)(const float* x, const std::uint32_t* mask, std::uint32_t n, float* out);
  // Indices i in ascending order with x[i] >= threshold, at most `capacity` of them; returns how many there are.
  std::uint32_t (*find)(const float* x, std::uint32_t n, float threshold, std::uint32_t* indices,
                        std::uint32_t capacity);
};

inline constexpr std::uint32_t kPeakColumns = 256;

// ---- States -------------------------------------------------------------------------------------------------------

// Columns of one head of a sequence's state, over the rows that it has in a step, one after the other. All strides are
// in floats, from row to row.
struct ScanCall {
  std::uint32_t rule;                      // NACELLE_SCAN_*
  std::uint32_t rows, key_width, columns;  // of the sequence, of the state, and as many values
  const float *q, *k, *v;                  // v: at the first column, as `state` and `out` are
  const float *decays, *strengths;         // a row has one decay, or one for each row of the state, and one strength
  std::uint32_t decay_step;                // 0: one decay; 1: key_width of them
  float scale, skip;
  float *state, *out;
  const float* next;  // the state of the call that comes next, or nullptr
  float* scratch;     // scan_scratch() floats, aligned to 64
  std::uint64_t q_stride, k_stride, v_stride, decay_stride, strength_stride, state_stride, out_stride;
};

// Tiles of columns stay in L1 from one row of the sequence to the next.
inline constexpr std::uint64_t kScanTileFloats = 6 << 10;

constexpr std::uint64_t scan_scratch(std::uint32_t key_width) {
  const std::uint64_t narrowest = padded(key_width) * kTileTokens;
  return padded(key_width) + (narrowest > kScanTileFloats ? narrowest : kScanTileFloats);
}

// Heads of one column, of one group, whose state's rows decay each by a rate of its own; else as ScanCall with ADD.
struct ChannelScanCall {
  std::uint32_t rows, key_width, heads;
  const float *q, *k;         // of the group
  const float *v, *steps;     // of the first head, as all below
  const float *rates, *skip;  // [heads][key_width]; skip: may be nullptr
  float scale;
  float *state, *out;  // state: [heads][key_width]
  std::uint64_t q_stride, k_stride, v_stride, step_stride, out_stride;
};

// Columns of a sequence's rows and of its window, which is moved along.
struct ConvolutionCall {
  std::uint32_t rows, columns, length;
  std::uint32_t activation;  // NACELLE_ACT_*; 0: none
  const float *x, *bias;     // bias: may be nullptr
  const float* filters;      // [length][columns]
  float *state, *out;        // state: [length - 1][columns]
  std::uint64_t x_stride, filter_stride, state_stride, out_stride;
};

struct RecurrentKernels {
  // steps = log(1 + e^(step + bias)) and decays = e^(rate * steps), of n elements; `bias` may be nullptr, and there is
  // a rate for each element, or one for all.
  void (*scan_steps)(const float* step, const float* bias, const float* rate, bool one_rate, std::uint32_t n,
                     float* steps, float* decays);
  void (*scan)(const ScanCall& call);
  void (*scan_channels)(const ChannelScanCall& call);
  void (*convolve)(const ConvolutionCall& call);
};

// ---- Tables -------------------------------------------------------------------------------------------------------

struct KernelTable {
  Isa isa;
  const VectorKernels* vectors;
  const AttentionKernels* attention;
  const MatmulVariant* matmul;
  std::uint32_t matmul_count;
  const RecurrentKernels* recurrent = nullptr;  // where there are vectors
};

// Those for block formats are units of their own, which hold matmuls only: they take longest to compile.
extern const KernelTable kPortableKernels, kPortableQuantKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels, kAvx2QuantKernels;
extern const KernelTable kAvxVnniQuantKernels;
extern const KernelTable kAvx512Kernels, kAvx512QuantKernels;
extern const KernelTable kAvx512Bf16Kernels, kAmxKernels;  // matmul only
#elif defined(__aarch64__)
extern const KernelTable kNeonKernels, kNeonQuantKernels;
extern const KernelTable kDotprodQuantKernels, kI8mmQuantKernels;
#endif

}  // namespace nacelle::cpu
