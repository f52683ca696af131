// Matmul by weights in any of GGUF's block formats, written once over the vector vocabulary. Include after a
// simd_*.hpp and the ints_*.hpp of the same ISA.
//
// Lane = output row. The codes of a run of columns that share a scale (32, or 16 in some K-quants) times int8
// activations are exact in int32. Then one fused multiply-add in f32 a block, in order, and one more for the min where
// the format has one. Two runs of a block are first weighed and added.
#pragma once

#include "backends/cpu/kernels/quant_blocks.hpp"

namespace nacelle::cpu {
namespace {

// What the sum of a row gains from a block, in this order: the formulas of the class. `dots`: the exact sum of a run.
[[gnu::always_inline]] inline F add_run(F sum, I dots, F scale, F x_scale) {
  return fma(to_f(dots), mul(scale, x_scale), sum);
}
[[gnu::always_inline]] inline F first_half(I dots, F scale) { return mul(to_f(dots), scale); }
[[gnu::always_inline]] inline F add_halves(F sum, F first, I dots, F scale, F x_scale) {
  return fma(fma(to_f(dots), scale, first), x_scale, sum);
}
[[gnu::always_inline]] inline F add_half_mins(F sum, I dots, F min, F x_scale) {
  return fma(to_f(dots), mul(min, x_scale), sum);
}

// A tile: kRows rows of x times kVectors vectors of output columns, walked block by block. Of its rows `rows` are
// wanted; the others repeat the last. Weights: PackedBlocks, Panel or StreamedBlocks.
template <nacelle_type kType, int kRows, int kVectors, class Weights>
struct QuantTile {
  using Q = Quant<kType>;

  const Weights& weights;
  const std::uint8_t *x, *x_scales, *x_extra;  // at the first row, and at the block that the weights call 0
  std::uint64_t offsets[kRows];                // bytes to each row

  QuantTile(const MatmulCall& call, std::uint32_t row, std::uint32_t rows, const Weights& of, std::uint32_t first_block)
      : weights(of), x(call.x + row * call.x_stride) {
    const std::uint32_t blocks = call.columns / kQuantBlock;
    x_scales = x + call.columns + std::uint64_t{first_block} * 4;
    x_extra = x + call.columns + std::uint64_t{blocks} * 4 + extra_index(first_block, 0) * 4;
    x += std::uint64_t{first_block} * kQuantBlock;
    for (std::uint32_t r = 0; r < kRows; ++r) offsets[r] = (r < rows ? r : rows - 1) * call.x_stride;
  }

  static constexpr std::uint64_t extra_index(std::uint64_t b, int run) {
    return Q::kExtra == Extra::kHalfStart ? 2 * b + run : b;
  }
  const std::uint8_t* word(const std::uint8_t* p, int r, std::uint64_t index) const {
    return p + offsets[r] + index * 4;
  }

  // Where the sum of a run starts: what undoes the offset of unsigned weights.
  I start(std::uint32_t b, int run, int r) const {
    if constexpr (Q::kOffset != 0) return set_quad(word(x_extra, r, extra_index(b, run)));
    return set_i32(0);
  }

  static constexpr int kRunQuads = 8 / Q::kRuns;

#if defined(__ARM_FEATURE_MATMUL_INT8)
  // The exact sums of one run of block b, two rows and eight columns at once.
  template <int kRun>
  [[gnu::always_inline]] void dot_row_pairs(std::uint32_t b, I (&dots)[kRows][kVectors]) const {
    RowPair pairs[kRows / 2][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r += 2)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) pairs[r / 2][v] = start_pair(start(b, kRun, r), start(b, kRun, r + 1));
    unroll<kRun * kRunQuads, (kRun + 1) * kRunQuads, 2>([&](auto quad) __attribute__((always_inline)) {
      constexpr int q = decltype(quad)::value;
      const std::uint8_t* at = x + b * kQuantBlock + q * 4;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const I values = weights.template values<q>(b, v), next = weights.template values<q + 1>(b, v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; r += 2)
          dot_pair(pairs[r / 2][v], values, next, at + offsets[r], at + offsets[r + 1]);
      }
    });
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r += 2)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        dots[r][v] = row0(pairs[r / 2][v]);
        dots[r + 1][v] = row1(pairs[r / 2][v]);
      }
  }
#endif

  template <int kRun>
  [[gnu::always_inline]] void dot_run(std::uint32_t b, I (&dots)[kRows][kVectors]) const {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) dots[r][v] = start(b, kRun, r);
    unroll<kRun * kRunQuads, (kRun + 1) * kRunQuads, Q::kQuads>([&](auto quad) __attribute__((always_inline)) {
      constexpr int q = decltype(quad)::value;
      I values[kVectors][Q::kQuads];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        unroll<0, Q::kQuads, 1>([&](auto i) __attribute__((always_inline)) {
          values[v][decltype(i)::value] = weights.template values<q + decltype(i)::value>(b, v);
        });
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v)
          dots[r][v] = dot<Q::kValueBits>(dots[r][v], values[v], x + offsets[r] + b * kQuantBlock + q * 4);
    });
  }

  // The exact sums of one run of block b.
  template <int kRun>
  [[gnu::always_inline]] void multiply_run(std::uint32_t b, I (&dots)[kRows][kVectors]) const {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if constexpr (kRows % 2 == 0)
      dot_row_pairs<kRun>(b, dots);
    else
#endif
      dot_run<kRun>(b, dots);
  }

  // sums += block b, but for its min. `dots_of(Index<run>, dots)` gives the exact sums of a run.
  template <class Dots>
  [[gnu::always_inline]] void add_block(std::uint32_t b, Dots dots_of, F (&sums)[kRows][kVectors]) const {
    I dots[kRows][kVectors];
    dots_of(Index<0>(), dots);
    if constexpr (Q::kRuns == 1) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const F scale = weights.scale(b, 0, v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
          sums[r][v] = add_run(sums[r][v], dots[r][v], scale, set_word(word(x_scales, r, b)));
      }
    } else {
      F total[kRows][kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const F scale = weights.scale(b, 0, v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) total[r][v] = first_half(dots[r][v], scale);
      }
      dots_of(Index<1>(), dots);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const F scale = weights.scale(b, 1, v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
          sums[r][v] = add_halves(sums[r][v], total[r][v], dots[r][v], scale, set_word(word(x_scales, r, b)));
      }
    }
  }

  [[gnu::always_inline]] void add_min(std::uint32_t b, F (&sums)[kRows][kVectors]) const {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const F min = weights.min(b, v);
      if constexpr (Q::kHalves) {
        const I pairs = weights.min_pairs(b, v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const I dots = dot_pairs(pairs, set_quad(word(x_extra, r, b)));
          sums[r][v] = add_half_mins(sums[r][v], dots, min, set_word(word(x_scales, r, b)));
        }
      } else {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sums[r][v] = fma(min, set_word(word(x_extra, r, b)), sums[r][v]);
      }
    }
  }

  // The next tile's rows come from L3 where the weights of a unit fill L2: a tenth faster so.
  [[gnu::always_inline]] void prefetch_next_rows(std::uint32_t b) const {
    if (b % 2 == 0) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) prefetch<Cache::kL2>(x + kRows * offsets[1] + offsets[r] + b * kQuantBlock);
    }
  }

  // Of x, what is needed soon.
  [[gnu::always_inline]] void prefetch_own_row(std::uint32_t b) const {
    constexpr std::uint32_t kAhead = 4, kPerLine = 64 / kQuantBlock, kWordsPerLine = 16;
    if (b % kPerLine == 0) prefetch<Cache::kL1>(x + (b + kAhead) * kQuantBlock);
    if (b % kWordsPerLine == 0) {
      prefetch<Cache::kL1>(x_scales + (b + kWordsPerLine) * 4);
      prefetch<Cache::kL1>(x_extra + (b + kWordsPerLine) * 4);
    }
  }

  // Blocks [0, count) as the weights count them.
  [[gnu::always_inline]] void run(std::uint32_t count, F (&sums)[kRows][kVectors]) const {
    for (std::uint32_t b = 0; b < count; ++b) {
      weights.begin_block(b);
      if constexpr (kRows > 1) prefetch_next_rows(b);
      if constexpr (Weights::kFetchesX) prefetch_own_row(b);
      add_block(
          b,
          [&](auto r, I(&dots)[kRows][kVectors])
              __attribute__((always_inline)) { multiply_run<decltype(r)::value>(b, dots); },
          sums);
      if constexpr (Q::kHasMin) add_min(b, sums);
    }
  }
};

// All blocks at once, straight from the packed weights.
template <nacelle_type kType, int kRows, int kVectors, class Weights = PackedBlocks<kType, kVectors>>
void quant_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t rows, std::uint32_t vector) {
  const Weights packed(call, vector);
  F sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = zero();
  QuantTile<kType, kRows, kVectors, Weights>(call, row, rows, packed, 0).run(call.columns / kQuantBlock, sums);
#pragma GCC unroll 8
  for (std::uint32_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      if (r < rows) store(call.out + (row + r) * call.out_stride + std::uint64_t{vector + v} * kLanes, sums[r][v]);
}

// A panel's blocks added to the sums so far; after the last panel straight to the output, which is not in L1: so the
// stores wait beside the next tile's products.
template <nacelle_type kType, int kRows, int kVectors, class Weights>
void panel_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t rows, const Weights& panel,
                std::uint32_t first_block, std::uint32_t count, F (*sums)[kVectors], float* out) {
  F tile[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) tile[r][v] = first_block == 0 ? zero() : sums[r][v];
  const bool last = first_block + count == call.columns / kQuantBlock;
  if (last) claim_tile<kRows, kVectors, F>(out, call.out_stride, rows);
  QuantTile<kType, kRows, kVectors, Weights>(call, row, rows, panel, first_block).run(count, tile);
#pragma GCC unroll 8
  for (std::uint32_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      if (!last)
        sums[r][v] = tile[r][v];
      else if (r < rows)
        store(out + r * call.out_stride + v * kLanes, tile[r][v]);
    }
}

// body(Index<tile>, row, rows): `total` rows in tiles of kRows; the last may be half as high, and not full.
template <int kRows, class Body>
[[gnu::always_inline]] inline void for_tiles(std::uint32_t total, Body body) {
  for (std::uint32_t row = 0; row < total; row += kRows) {
    const std::uint32_t rows = total - row < kRows ? total - row : kRows;
    if (rows > kRows / 2)
      body(Index<kRows>(), row, rows);
    else
      body(Index<kRows / 2>(), row, rows);
  }
}

// Rows that share a panel: their sums stay in L1 beside it.
constexpr std::uint32_t kPanelRows = 48;

// A panel of weights is unpacked once for all rows.
template <nacelle_type kType, int kRows, int kVectors, bool kCodes>
void quant_panels(const MatmulCall& call, std::uint32_t vector) {
  static_assert(kPanelRows % kRows == 0);
  const PackedBlocks<kType, kVectors> packed(call, vector);
  const std::uint32_t blocks = call.columns / kQuantBlock;
  Panel<kType, kVectors, kCodes> panel;
  F sums[kPanelRows][kVectors];
  for (std::uint32_t first = 0; first < call.rows; first += kPanelRows) {
    const std::uint32_t total = call.rows - first < kPanelRows ? call.rows - first : kPanelRows;
    for (std::uint32_t b = 0; b < blocks; b += panel.kBlocks) {
      const std::uint32_t count = blocks - b < panel.kBlocks ? blocks - b : panel.kBlocks;
      panel.unpack(packed, b, count, (total + kRows - 1) / kRows);
      for_tiles<kRows>(total, [&](auto height, std::uint32_t row, std::uint32_t rows) {
        panel_tile<kType, decltype(height)::value, kVectors>(
            call, first + row, rows, panel, b, count, sums + row,
            call.out + (first + row) * call.out_stride + std::uint64_t{vector} * kLanes);
      });
    }
  }
}

// The same bits either way.
template <nacelle_type kType, int kRows, int kVectors>
void choose_panels(const MatmulCall& call, std::uint32_t vector) {
  if constexpr (kPackedRows > 0 && Quant<kType>::kStaysPacked)
    if (call.rows <= kPackedRows) return quant_panels<kType, kRows, kVectors, false>(call, vector);
  quant_panels<kType, kRows, kVectors, Quant<kType>::kPanel>(call, vector);
}

// A lone row's tiles of kVectors vectors, then single ones.
template <nacelle_type kType, int kVectors, template <nacelle_type, int> class Weights>
void multiply_lone(const MatmulCall& call, std::uint32_t vectors) {
  std::uint32_t vector = 0;
  for (; vector + kVectors <= vectors; vector += kVectors)
    quant_tile<kType, 1, kVectors, Weights<kType, kVectors>>(call, 0, 1, vector);
  for (; vector < vectors; ++vector) quant_tile<kType, 1, 1, Weights<kType, 1>>(call, 0, 1, vector);
}

// Tiles of kRows rows and kVectors vectors; a lone row takes kLoneVectors, as there is no x to share: one group, so
// that its weights are one stream.
template <nacelle_type kType, int kRows, int kVectors, int kLoneVectors,
          template <nacelle_type, int> class Weights = PackedBlocks>
void multiply_quant(const MatmulCall& call, std::uint32_t groups) {
  const std::uint32_t vectors = groups * kGroupParts;
  std::uint32_t vector = 0;
  if (call.rows == 1) return multiply_lone<kType, kLoneVectors, Weights>(call, vectors);
  // What is left of vectors in threes goes in pairs: four are two pairs.
  for (; vector + kVectors <= vectors && (kVectors != 3 || vectors - vector != 4); vector += kVectors)
    choose_panels<kType, kRows, kVectors>(call, vector);
  if constexpr (kVectors == 3)
    for (; vector + 2 <= vectors; vector += 2) choose_panels<kType, kRows, 2>(call, vector);
  for (; vector < vectors; ++vector) choose_panels<kType, kRows, 1>(call, vector);
}

// A row of a table of variants. `cost` and `lone_cost` as in MatmulVariant.
template <nacelle_type kType, int kRows, int kVectors, int kLoneVectors>
constexpr MatmulVariant quant_variant(const char* name, Isa isa, double cost, double lone_cost = 0) {
  return {name,
          6,
          kType,
          isa,
          cost,
          kFused ? "q8a-i32-f32-2" : "q8a-i32-f32-2-mul-add",
          Activation::kInt8,
          kRows,
          kVectors > kGroupParts ? kVectors / kGroupParts : 1,
          Quant<kType>::kEncode,
          multiply_quant<kType, kRows, kVectors, kLoneVectors>,
          0,
          lone_cost};
}

// The same, but for what a lone row asks for ahead, as Intel's cores like it (measured: a third faster from memory).
template <nacelle_type kType, int kRows, int kVectors, int kLoneVectors>
constexpr MatmulVariant hinted_variant(const char* name, Isa isa, double cost) {
  MatmulVariant variant = quant_variant<kType, kRows, kVectors, kLoneVectors>(name, isa, cost);
  variant.multiply = multiply_quant<kType, kRows, kVectors, kLoneVectors, FarBlocks>;
  variant.intel_lone_cost = 0.75 * cost;
  variant.lone_row = LoneRow::kHinted;
  return variant;
}

}  // namespace
}  // namespace nacelle::cpu
