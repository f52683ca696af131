// Matmul with the tiles of AMX. Include after matmul_quant.hpp.
//
// A tile of sums is 16 rows of x by 16 output rows. What a packed group holds of 64 bytes, [16 rows][4 columns], is one
// row of the second operand as it stands. The sums of a run of columns are exact in int32, and go on as in
// matmul_quant.hpp: the same bits. BF16 is a numerics class of its own: a tile adds up even and odd columns apart.
#pragma once

#include "backends/cpu/kernels/matmul_bf16_avx512.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"
#include "backends/cpu/kernels/tiles_amx.hpp"

namespace nacelle::cpu {
namespace {

// ---- Block formats: a run of columns is a product of its own. Registers 0 to 3 hold the sums of a run, and 4 to 7 its
// operands, x and weights: two blocks of two runs are under way at once.

template <nacelle_type kType>
constexpr TileShapes run_shapes() {
  constexpr std::uint32_t kQuads = 8 / Quant<kType>::kRuns;
  TileShapes shapes;
  for (const int sums : {0, 1, 2, 3}) shapes.set(sums, kTile, 64);
  for (const int x : {4, 5}) shapes.set(x, kTile, kQuads * 4);
  for (const int weights : {6, 7}) shapes.set(weights, kQuads, 64);
  return shapes;
}

// The product of a run by registers of its own, whose numbers are part of the instructions.
template <int kLane>
struct RunProduct;
#define NACELLE_RUN_PRODUCT(lane, x, weights)                                                 \
  template <>                                                                                 \
  struct RunProduct<lane> {                                                                   \
    static void multiply(const std::uint8_t* rows, std::uint64_t stride, const void* codes) { \
      _tile_zero(lane);                                                                       \
      _tile_loadd(x, rows, stride);                                                           \
      _tile_loadd(weights, codes, 64);                                                        \
      _tile_dpbssd(lane, x, weights);                                                         \
    }                                                                                         \
    static void store(void* dots) { _tile_stored(lane, dots, 64); }                           \
  }
NACELLE_RUN_PRODUCT(0, 4, 6);
NACELLE_RUN_PRODUCT(1, 5, 7);
NACELLE_RUN_PRODUCT(2, 4, 6);
NACELLE_RUN_PRODUCT(3, 5, 7);
#undef NACELLE_RUN_PRODUCT

// Weights with their sign: nothing is left to undo, as AMX multiplies signed by signed.
template <nacelle_type kType>
struct SignedBlocks : PackedBlocks<kType, 1> {
  using PackedBlocks<kType, 1>::PackedBlocks;
  template <int quad>
  I values(std::uint32_t b, int v) const {
    const I codes = PackedBlocks<kType, 1>::template values<quad>(b, v);
    if constexpr (Quant<kType>::kOffset != 0)
      return sub_i8(codes, set_i8(static_cast<std::int8_t>(Quant<kType>::kOffset)));
    return codes;
  }
};

template <nacelle_type kType>
using AmxPanel = Panel<kType, 1, true>;

// Where a tile takes its weights from: a panel, for which many rows have been waiting, ...
template <nacelle_type kType>
struct PanelWeights {
  const AmxPanel<kType>& panel;
  Ahead<1> ahead;  // a copy of the panel's, in registers

  explicit PanelWeights(const AmxPanel<kType>& of) : panel(of), ahead(of.ahead) {}
  void begin() {}
  [[gnu::always_inline]] void begin_block(std::uint32_t) { ahead.step(); }
  void end() { panel.ahead = ahead; }
  const void* codes(std::uint32_t b, int quad) const { return panel.codes[b][quad]; }
  F scale(std::uint32_t b, int run) const { return panel.scale(b, run, 0); }
  F min(std::uint32_t b) const { return panel.min(b, 0); }
  I min_pairs(std::uint32_t b) const { return panel.min_pairs(b, 0); }
};

// ... or where 16 rows are all there are, a block unpacked just before it is multiplied: beside the products, which
// leave the units that this takes idle, and from memory in one stream.
template <nacelle_type kType>
struct StreamedWeights {
  static constexpr std::uint32_t kAhead = 3, kRing = 4;
  const SignedBlocks<kType>& blocks;
  I (&ring)[kRing][8];

  StreamedWeights(const SignedBlocks<kType>& of, I (&codes)[kRing][8]) : blocks(of), ring(codes) {}
  [[gnu::always_inline]] void unpack(std::uint32_t b) {
    unroll<0, 8, 1>([&](auto quad) __attribute__((always_inline)) {
      ring[b % kRing][decltype(quad)::value] = blocks.template values<decltype(quad)::value>(b, 0);
    });
  }
  void begin() {
    for (std::uint32_t b = 0; b < kAhead; ++b)
      if (b < blocks.blocks) unpack(b);
  }
  // As FarBlocks, but a block takes longer than reading it: what is that far ahead comes in time.
  [[gnu::always_inline]] void begin_block(std::uint32_t b) {
    blocks.template hint<Cache::kL2, 6144>(b);
    blocks.template hint<Cache::kL1, 2048>(b);
    if (b + kAhead < blocks.blocks) unpack(b + kAhead);
  }
  void end() {}
  const void* codes(std::uint32_t b, int quad) const { return &ring[b % kRing][quad]; }
  F scale(std::uint32_t b, int run) const { return blocks.scale(b, run, 0); }
  F min(std::uint32_t b) const { return blocks.min(b, 0); }
  I min_pairs(std::uint32_t b) const { return blocks.min_pairs(b, 0); }
};

// Blocks of weights for 16 rows. Neither loading operands nor storing sums waits for another block's product: while the
// sums of a block are weighed, those of the next are stored, and the one after that is multiplied.
template <nacelle_type kType>
struct AmxTile {
  using Q = Quant<kType>;
  static constexpr int kRunQuads = 8 / Q::kRuns;

  const std::uint8_t *x, *scales, *extra;                 // of the first row, at the weights' first block
  std::uint64_t stride;                                   // bytes to the next row
  alignas(64) std::uint8_t dots[2][Q::kRuns][kTile][64];  // of an even and an odd block

  AmxTile(const MatmulCall& call, std::uint32_t row, std::uint32_t first_block) : stride(call.x_stride) {
    const std::uint8_t* at = call.x + row * stride;
    x = at + std::uint64_t{first_block} * kQuantBlock;
    scales = at + call.columns + std::uint64_t{first_block} * 4;
    extra = scales + call.columns / kQuantBlock * 4;
  }

  template <int kOdd, class Weights>
  [[gnu::always_inline]] void multiply(const Weights& weights, std::uint32_t b) const {
    settle_memory(weights.codes(b, 0));
    unroll<0, Q::kRuns, 1>([&](auto run) __attribute__((always_inline)) {
      constexpr int r = decltype(run)::value, kQuad = r * kRunQuads;
      RunProduct<kOdd * Q::kRuns + r>::multiply(x + b * kQuantBlock + kQuad * 4, stride, weights.codes(b, kQuad));
    });
  }
  template <int kOdd>
  [[gnu::always_inline]] void store_dots() {
    unroll<0, Q::kRuns, 1>([&](auto run) __attribute__((always_inline)) {
      RunProduct<kOdd * Q::kRuns + decltype(run)::value>::store(dots[kOdd][decltype(run)::value]);
    });
  }
  // Of row 4 * i + k, what `from` has k rows after it; `from` moves on by four rows. GCC would keep sixteen pointers,
  // and most of them in memory.
  struct FourRows {
    const std::uint8_t* from;
    std::uint64_t stride;
    const std::uint8_t* at(std::uint32_t k) const { return from + k * stride; }
    void next() {
      from += 4 * stride;
      __asm__("" : "+r"(from));
    }
  };
  template <int kOdd, class Weights>
  [[gnu::always_inline]] void weigh(const Weights& weights, std::uint32_t b, F (&sums)[kTile]) const {
    const F scale = weights.scale(b, 0), second = weights.scale(b, Q::kRuns - 1);
    FourRows x_scales{scales + b * 4, stride}, x_extra{extra + b * 4, stride};
#pragma GCC unroll 16
    for (std::uint32_t r = 0; r < kTile; ++r) {
      const I first = load_i(dots[kOdd][0][r]);
      const F x_scale = set_word(x_scales.at(r % 4));
      if constexpr (Q::kRuns == 1)
        sums[r] = add_run(sums[r], first, scale, x_scale);
      else
        sums[r] = add_halves(sums[r], first_half(first, scale), load_i(dots[kOdd][1][r]), second, x_scale);
      if constexpr (Q::kHasMin && Q::kHalves) {
        const I pairs = dot_pairs(weights.min_pairs(b), set_quad(x_extra.at(r % 4)));
        sums[r] = add_half_mins(sums[r], pairs, weights.min(b), x_scale);
      } else if constexpr (Q::kHasMin) {
        sums[r] = fma(weights.min(b), set_word(x_extra.at(r % 4)), sums[r]);
      }
      if (r % 4 == 3) {
        x_scales.next();
        if constexpr (Q::kHasMin) x_extra.next();
      }
    }
  }
  template <int kOdd, class Weights>
  [[gnu::always_inline]] void step(Weights& weights, std::uint32_t b, std::uint32_t count, F (&sums)[kTile]) {
    weights.begin_block(b);
    if (b + 2 < count) multiply<kOdd>(weights, b + 2);
    if (b + 1 < count) store_dots<1 - kOdd>();
    weigh<kOdd>(weights, b, sums);
  }
  // total = what it was, or 0 where it `starts` here, and blocks [0, count).
  template <class Weights>
  void run(Weights weights, std::uint32_t count, bool starts, F (&total)[kTile]) {
    F sums[kTile];
#pragma GCC unroll 16
    for (std::uint32_t r = 0; r < kTile; ++r) sums[r] = starts ? zero() : total[r];
    weights.begin();
    multiply<0>(weights, 0);
    store_dots<0>();
    if (count > 1) multiply<1>(weights, 1);
    for (std::uint32_t b = 0; b < count; b += 2) {
      step<0>(weights, b, count, sums);
      if (b + 1 < count) step<1>(weights, b + 1, count, sums);
    }
    weights.end();
#pragma GCC unroll 16
    for (std::uint32_t r = 0; r < kTile; ++r) total[r] = sums[r];
  }
};

// Groups whose panels are unpacked together, and rows that share them: of x, which lies in many places, a tile's part
// of a panel stays in L1 for all of these groups, while their codes come from L2 in one stream.
constexpr std::uint32_t kAmxGroups = 4, kAmxRows = 96;

// As quant_panels, for a multiple of 16 rows.
template <nacelle_type kType>
void amx_panels(const MatmulCall& call, std::uint32_t group, std::uint32_t groups) {
  static_assert(kAmxRows % kTile == 0);
  constexpr std::uint32_t kBlocks = AmxPanel<kType>::kBlocks;
  const std::uint32_t blocks = call.columns / kQuantBlock;
  AmxPanel<kType> panels[kAmxGroups];
  F sums[kAmxRows / kTile][kAmxGroups][kTile];
  for (std::uint32_t first = 0; first < call.rows; first += kAmxRows) {
    const std::uint32_t tiles = (call.rows - first < kAmxRows ? call.rows - first : kAmxRows) / kTile;
    for (std::uint32_t b = 0; b < blocks; b += kBlocks) {
      const std::uint32_t count = blocks - b < kBlocks ? blocks - b : kBlocks;
      for (std::uint32_t g = 0; g < groups; ++g)
        panels[g].unpack(SignedBlocks<kType>(call, group + g), b, count, tiles);
      for (std::uint32_t t = 0; t < tiles; ++t)
        for (std::uint32_t g = 0; g < groups; ++g) {
          if (b + count == blocks)
            claim_tile<kTile, 1, F>(
                call.out + (first + t * kTile) * call.out_stride + std::uint64_t{group + g} * kLanes, call.out_stride,
                kTile);
          AmxTile<kType>(call, first + t * kTile, b).run(PanelWeights<kType>(panels[g]), count, b == 0, sums[t][g]);
        }
    }
    for (std::uint32_t r = 0; r < tiles * kTile; ++r)
      for (std::uint32_t g = 0; g < groups; ++g)
        store(call.out + (first + r) * call.out_stride + std::uint64_t{group + g} * kLanes,
              sums[r / kTile][g][r % kTile]);
  }
}

// 16 rows by one group.
template <nacelle_type kType>
void amx_stream(const MatmulCall& call, std::uint32_t group) {
  const SignedBlocks<kType> blocks(call, group);
  I ring[StreamedWeights<kType>::kRing][8];
  F sums[kTile];
  claim_tile<kTile, 1, F>(call.out + std::uint64_t{group} * kLanes, call.out_stride, kTile);
  AmxTile<kType>(call, 0, 0).run(StreamedWeights<kType>(blocks, ring), call.columns / kQuantBlock, true, sums);
  for (std::uint32_t r = 0; r < kTile; ++r)
    store(call.out + r * call.out_stride + std::uint64_t{group} * kLanes, sums[r]);
}

// The variant of the class that takes what fills no tile: AVX-512 VNNI's.
template <nacelle_type kType>
void multiply_rest(const MatmulCall& call, std::uint32_t groups) {
  for (std::uint32_t i = 0; i < kAvx512QuantKernels.matmul_count; ++i)
    if (kAvx512QuantKernels.matmul[i].weight == kType) return kAvx512QuantKernels.matmul[i].multiply(call, groups);
}

template <nacelle_type kType>
void multiply_amx(const MatmulCall& call, std::uint32_t groups) {
  static_assert(kGroupParts == 1);
  MatmulCall whole = call, rest = call;
  whole.rows = call.rows / kTile * kTile;
  if (whole.rows) configure(run_shapes<kType>());
  if (whole.rows == kTile)
    for (std::uint32_t group = 0; group < groups; ++group) amx_stream<kType>(whole, group);
  else if (whole.rows)
    for (std::uint32_t group = 0; group < groups; group += kAmxGroups)
      amx_panels<kType>(whole, group, groups - group < kAmxGroups ? groups - group : kAmxGroups);
  if (whole.rows) _tile_release();
  rest.rows -= whole.rows;
  rest.x += whole.rows * call.x_stride;
  rest.out += whole.rows * call.out_stride;
  if (rest.rows) multiply_rest<kType>(rest, groups);
}

// What a lone row costs, which fills no tile: more than by any variant that has AVX-512.
constexpr double kNoTile = 10;

template <nacelle_type kType>
constexpr MatmulVariant amx_variant(const char* name, double cost) {
  return {name,
          1,
          kType,
          Isa::kAmx,
          cost,
          "q8a-i32-f32-2",
          Activation::kInt8,
          kTile,
          kAmxGroups,
          Quant<kType>::kEncode,
          multiply_amx<kType>,
          0,
          kNoTile,
          kNoTile,
          LoneRow::kAlike,
          kAmxRows};
}

// ---- BF16: 32 columns a step, and two tiles of rows by two of groups: four products for four loads.

// Registers 0 and 1 hold the sums of the first 16 rows, 2 and 3 those of up to 16 more; 4 and 5 x, 6 and 7 weights.
constexpr TileShapes bf16_shapes(std::uint32_t first, std::uint32_t second) {
  TileShapes shapes;
  for (const int tile : {0, 1, 4}) shapes.set(tile, first, 64);
  if (second)
    for (const int tile : {2, 3, 5}) shapes.set(tile, second, 64);
  for (const int weights : {6, 7}) shapes.set(weights, kTile, 64);
  return shapes;
}

// What up to 16 rows multiply comes from memory: asked for as FarBlocks do, the next 16 lines of a stream.
[[gnu::always_inline]] inline void fetch_ahead(const std::uint8_t* w) {
#pragma GCC unroll 16
  for (std::uint32_t line = 0; line < kTile; ++line) {
    prefetch<Cache::kL2>(w + 3072 + line * 64);
    prefetch<Cache::kL1>(w + 1024 + line * 64);
  }
}

template <bool kTwoRows, bool kTwoGroups>
void bf16_amx_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  const std::uint8_t *x = call.x + row * call.x_stride, *below = x + kTile * call.x_stride;
  const std::uint8_t *w = call.weights + group * call.group_bytes, *beside = w + call.group_bytes;
  _tile_zero(0);
  if constexpr (kTwoGroups) _tile_zero(1);
  if constexpr (kTwoRows) _tile_zero(2);
  if constexpr (kTwoRows && kTwoGroups) _tile_zero(3);
  for (std::uint64_t k = 0; k < call.columns; k += 2 * kTile) {
    if constexpr (!kTwoRows && !kTwoGroups) fetch_ahead(w + k * 32);
    _tile_loadd(4, x + k * 2, call.x_stride);
    _tile_loadd(6, w + k * 32, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoGroups) {
      _tile_loadd(7, beside + k * 32, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, below + k * 2, call.x_stride);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kTwoRows && kTwoGroups) _tile_dpbf16ps(3, 5, 7);
  }
  float* out = call.out + row * call.out_stride + group * kGroupRows;
  const std::uint64_t stride = call.out_stride * sizeof(float);
  _tile_stored(0, out, stride);
  if constexpr (kTwoGroups) _tile_stored(1, out + kGroupRows, stride);
  if constexpr (kTwoRows) _tile_stored(2, out + kTile * call.out_stride, stride);
  if constexpr (kTwoRows && kTwoGroups) _tile_stored(3, out + kTile * call.out_stride + kGroupRows, stride);
}

// Up to 16 rows take one group after the other: one stream of memory.
template <bool kTwoRows>
void bf16_amx_rows(const MatmulCall& call, std::uint32_t row, std::uint32_t groups) {
  std::uint32_t group = 0;
  if (call.rows > kTile)
    for (; group + 2 <= groups; group += 2) bf16_amx_tile<kTwoRows, true>(call, row, group);
  for (; group < groups; ++group) bf16_amx_tile<kTwoRows, false>(call, row, group);
}

// `columns`: a multiple of 32.
inline void bf16_amx_whole(const MatmulCall& call, std::uint32_t groups) {
  std::uint32_t shaped = 0;
  settle_memory(call.x);
  for (std::uint32_t row = 0; row < call.rows; row += 2 * kTile) {
    const std::uint32_t rows = call.rows - row < 2 * kTile ? call.rows - row : 2 * kTile;
    const std::uint32_t first = rows < kTile ? rows : kTile;
    if (rows != shaped) configure(bf16_shapes(first, rows - first));
    shaped = rows;
    if (rows > kTile)
      bf16_amx_rows<true>(call, row, groups);
    else
      bf16_amx_rows<false>(call, row, groups);
  }
  if (shaped) _tile_release();
}

// Any number of columns. Registers 0, 4 and 6 as above; 5 and 7 are 4 and 6 for what is left of the columns.
constexpr TileShapes ragged_shapes(std::uint32_t rows, std::uint32_t rest) {
  TileShapes shapes = bf16_shapes(rows, 0);
  shapes.set(5, rows, rest * 4);
  shapes.set(7, rest, 64);
  return shapes;
}

inline void bf16_amx_ragged(const MatmulCall& call, std::uint32_t groups) {
  const std::uint32_t pairs = (call.columns + 1) / 2, whole = pairs / kTile * kTile, rest = pairs - whole;
  settle_memory(call.x);
  for (std::uint32_t row = 0; row < call.rows; row += kTile) {
    configure(ragged_shapes(call.rows - row < kTile ? call.rows - row : kTile, rest));
    const std::uint8_t* x = call.x + row * call.x_stride;
    for (std::uint32_t group = 0; group < groups; ++group) {
      const std::uint8_t* w = call.weights + group * call.group_bytes;
      _tile_zero(0);
      for (std::uint32_t k = 0; k < whole; k += kTile) {
        _tile_loadd(4, x + k * 4, call.x_stride);
        _tile_loadd(6, w + std::uint64_t{k} * 64, 64);
        _tile_dpbf16ps(0, 4, 6);
      }
      _tile_loadd(5, x + whole * 4, call.x_stride);
      _tile_loadd(7, w + std::uint64_t{whole} * 64, 64);
      _tile_dpbf16ps(0, 5, 7);
      _tile_stored(0, call.out + row * call.out_stride + group * kGroupRows, call.out_stride * sizeof(float));
    }
  }
  if (call.rows) _tile_release();
}

inline void multiply_bf16_amx(const MatmulCall& call, std::uint32_t groups) {
  if (call.columns % (2 * kTile) == 0)
    bf16_amx_whole(call, groups);
  else
    bf16_amx_ragged(call, groups);
}

}  // namespace
}  // namespace nacelle::cpu
