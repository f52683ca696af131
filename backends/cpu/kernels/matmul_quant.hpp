// Matmul by weights in any of GGUF's block formats, written once over the vector vocabulary. Include after a
// simd_*.hpp and the ints_*.hpp of the same ISA.
//
// Lane = output row. The codes of a block of 32 columns (quant_layout.hpp) times int8 activations are exact in int32;
// so are the sub-blocks' integer scales of K-quants of 16 columns. Then one fused multiply-add in f32 a block, in block
// order, and one more for the min where the format has one.
#pragma once

#include "backends/cpu/kernels/encode.hpp"
#include "backends/cpu/kernels/quant_layout.hpp"

namespace nacelle::cpu {
namespace {

constexpr int kGroupParts = static_cast<int>(kGroupRows) / kLanes;  // vectors of a group

template <int kValue>
struct Index {
  static constexpr int value = kValue;
};
// body(Index<0>), body(Index<step>), ... below kEnd: an unrolled loop whose counter is a constant.
template <int kBegin, int kEnd, int kStep, class Body>
[[gnu::always_inline]] inline void unroll(Body body) {
  if constexpr (kBegin < kEnd) {
    body(Index<kBegin>());
    unroll<kBegin + kStep, kEnd, kStep>(body);
  }
}

template <nacelle_type kType>
struct Quant {
  static constexpr QuantLayout kLayout = quant_layout(*block_format(kType));
  static constexpr BlockFormat kFormat = kLayout.format;
  static constexpr bool kHalves = kLayout.has_halves(), kHasMin = kFormat.has_min;
  static constexpr int kValueBits = kLayout.value_bits;
  static constexpr bool kSigned = kValueBits == 8 && !kUnsignedBytes;
  static constexpr int kQuads = kDotQuads<kValueBits>;
  static constexpr std::int32_t kOffset = kHasMin || kSigned ? 0 : kLayout.offset;
  static constexpr Extra kExtra =
      kHasMin ? (kHalves ? Extra::kHalfSums : Extra::kTail) : (kHalves ? Extra::kHalfStart : Extra::kStart);
  static constexpr auto kEncode = encode_int8<kExtra, kOffset>;

  struct Table {
    std::uint8_t entries[16];
  };
  static constexpr Table make_table() {
    Table table{};
    for (int i = 0; i < 16 && kLayout.has_codebook; ++i)
      table.entries[i] = static_cast<std::uint8_t>(kFormat.codebook[i] + (kSigned ? 0 : kLayout.offset));
    return table;
  }
  static constexpr Table kTable = make_table();

  // Bits [0, kBits) of each code of quad q, moved up by kUp.
  template <int q, int kBits, int kUp>
  static I plane(const std::uint8_t* p) {
    const I field = load_i(p + q % kBits * 64);
    if constexpr (kBits == 8) return field;
    return and_i(shift_right<q / kBits * kBits - kUp>(field), set_i8(((1 << kBits) - 1) << kUp));
  }
  // The values of quad q, as the dot product takes them. `p`: the block's codes, at this vector's lanes.
  template <int q>
  static I values(const std::uint8_t* p) {
    constexpr int kLow = kLayout.low_bits, kHigh = kLayout.high_bits;
    I codes = plane<q, kLow, 0>(p);
    if constexpr (kHigh > 0) codes = or_i(codes, plane<q, kHigh, kLow>(p + kLow * 64));
    if constexpr (kLayout.has_codebook) codes = look_up(codes, kTable.entries);
    if constexpr (kSigned && !kLayout.has_codebook) codes = xor_i(codes, set_i8(-128));  // minus 128
    return codes;
  }

  // The f32 scale of block b; `p`: the scale entries, at f16 of this vector's lanes; `lane`: the first of them.
  static F scale(const std::uint8_t* entry, std::uint32_t in_entry, std::uint32_t lane) {
    if constexpr (kType == NACELLE_TYPE_MXFP4) return exponent_scale(load_unsigned(entry + lane));
    const F whole = load_f16(reinterpret_cast<const std::uint16_t*>(entry) + lane);
    if constexpr (!kFormat.integer_scales || kHalves) return whole;
    return mul(whole, to_f(factor(entry, in_entry, lane)));
  }
  // 2^(e - 128); the two smallest are subnormal. See mxfp4_scale.
  static F exponent_scale(I e) {
    const F large = as_f(shift_left_i32<23>(add_i(e, set_i32(-1))));
    const F small = as_f(shift_left_i32<21>(add_i(e, set_i32(1))));
    return less(to_f(e), set(2.0f), small, large);
  }
  static const std::uint8_t* record(const std::uint8_t* entry, std::uint32_t sub) {
    return entry + kLayout.factors_at + sub * kLayout.factor_bytes;
  }
  static I factor(const std::uint8_t* entry, std::uint32_t sub, std::uint32_t lane) {
    if constexpr (kLayout.shares_byte()) return and_i(load_unsigned(record(entry, sub) + lane), set_i32(15));
    return load_signed(record(entry, sub) + lane);
  }
  static I min_factor(const std::uint8_t* entry, std::uint32_t sub, std::uint32_t lane) {
    if constexpr (kLayout.shares_byte()) return shift_right_i32<4>(load_unsigned(record(entry, sub) + lane));
    return load_unsigned(record(entry, sub) + kGroupRows + lane);
  }
  // What `Extra` is multiplied by: the min of a block, or of an entry whose halves have integer factors.
  static F min(const std::uint8_t* entry, std::uint32_t in_entry, std::uint32_t lane) {
    const F whole = load_f16(reinterpret_cast<const std::uint16_t*>(entry + kLayout.min_at) + lane);
    if constexpr (!kFormat.integer_scales || kHalves) return whole;
    return mul(whole, to_f(min_factor(entry, in_entry, lane)));
  }
  static I min_pairs(const std::uint8_t* entry, std::uint32_t in_entry, std::uint32_t lane) {
    return or_i(min_factor(entry, 2 * in_entry, lane), shift_left_i32<16>(min_factor(entry, 2 * in_entry + 1, lane)));
  }
};

// Far enough ahead of a stream to hide memory, near enough to stay in L1.
constexpr std::uint32_t kPrefetchBytes = 2048;

// A tile: kRows rows of x times kVectors vectors of output columns, walked block by block.
template <nacelle_type kType, int kRows, int kVectors>
struct QuantTile {
  using Q = Quant<kType>;

  const MatmulCall& call;
  std::uint32_t blocks;
  const std::uint8_t* codes[kVectors];   // at the first block
  const std::uint8_t* scales[kVectors];  // at the first entry
  std::uint32_t lanes[kVectors];         // a vector's first lane in its group
  const std::uint8_t *x, *x_scales, *x_extra;

  QuantTile(const MatmulCall& of, std::uint32_t row, std::uint32_t vector)
      : call(of), blocks(of.columns / kQuantBlock), x(of.x + row * of.x_stride) {
    for (int v = 0; v < kVectors; ++v) {
      const std::uint32_t at = vector + v;
      lanes[v] = at % kGroupParts * kLanes;
      const std::uint8_t* group = call.weights + at / kGroupParts * call.group_bytes;
      codes[v] = group + lanes[v] * 4;
      scales[v] = group + std::uint64_t{blocks} * Q::kLayout.code_bytes;
    }
    x_scales = x + call.columns;
    x_extra = x_scales + std::uint64_t{blocks} * 4;
  }

  const std::uint8_t* entry(int v, std::uint32_t b) const {
    return scales[v] + b / Q::kLayout.entry_blocks * Q::kLayout.entry_bytes;
  }
  const std::uint8_t* word(const std::uint8_t* p, int r, std::uint32_t index) const {
    return p + r * call.x_stride + std::uint64_t{index} * 4;
  }

  // A lone row streams the weights from memory.
  void prefetch_codes(std::uint32_t b) const {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      if (lanes[v] == 0)
        for (std::uint32_t at = 0; at < Q::kLayout.code_bytes; at += 64)
          prefetch(codes[v] + std::uint64_t{b} * Q::kLayout.code_bytes + at + kPrefetchBytes);
  }

  // dots += quads [kFrom, kTo) of block b.
  template <int kFrom, int kTo>
  [[gnu::always_inline]] void multiply(std::uint32_t b, I (&dots)[kRows][kVectors]) const {
    if constexpr (kRows == 1 && kFrom == 0) prefetch_codes(b);
    unroll<kFrom, kTo, Q::kQuads>([&](auto quad) __attribute__((always_inline)) {
      constexpr int q = decltype(quad)::value;
      I values[kVectors][Q::kQuads];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const std::uint8_t* p = codes[v] + std::uint64_t{b} * Q::kLayout.code_bytes;
        unroll<0, Q::kQuads, 1>([&](auto i) __attribute__((always_inline)) {
          constexpr int at = q + decltype(i)::value;
          values[v][at - q] = Q::template values<at>(p);
        });
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v)
          dots[r][v] = dot<Q::kValueBits>(dots[r][v], values[v], x + r * call.x_stride + b * kQuantBlock + q * 4);
    });
  }

  // The integer sum of block b: exact, with the offset undone and the halves scaled.
  [[gnu::always_inline]] void sum_block(std::uint32_t b, I (&dots)[kRows][kVectors]) const {
    constexpr bool kStarts = Q::kOffset != 0;
    if constexpr (!Q::kHalves) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) dots[r][v] = kStarts ? set_quad(word(x_extra, r, b)) : set_i32(0);
      multiply<0, 8>(b, dots);
      return;
    }
    unroll<0, 2, 1>([&](auto index) __attribute__((always_inline)) {
      constexpr int half = decltype(index)::value;
      I sums[kRows][kVectors];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] = kStarts ? set_quad(word(x_extra, r, 2 * b + half)) : set_i32(0);
      multiply<4 * half, 4 * half + 4>(b, sums);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const I factor = Q::factor(entry(v, b), b % Q::kLayout.entry_blocks * 2 + half, lanes[v]);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const I scaled = mul_i(sums[r][v], factor);
          dots[r][v] = half ? add_i(dots[r][v], scaled) : scaled;
        }
      }
    });
  }

  [[gnu::always_inline]] void add_block(std::uint32_t b, const I (&dots)[kRows][kVectors],
                                        F (&sums)[kRows][kVectors]) const {
    const std::uint32_t in_entry = b % Q::kLayout.entry_blocks;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const F scale = Q::scale(entry(v, b), in_entry, lanes[v]);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        sums[r][v] = fma(to_f(dots[r][v]), mul(scale, set_word(word(x_scales, r, b))), sums[r][v]);
      if constexpr (Q::kHasMin) add_min(b, in_entry, v, sums);
    }
  }

  [[gnu::always_inline]] void add_min(std::uint32_t b, std::uint32_t in_entry, int v,
                                      F (&sums)[kRows][kVectors]) const {
    const F min = Q::min(entry(v, b), in_entry, lanes[v]);
    if constexpr (Q::kHalves) {
      const I pairs = Q::min_pairs(entry(v, b), in_entry, lanes[v]);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const F whole = to_f(dot_pairs(pairs, set_quad(word(x_extra, r, b))));
        sums[r][v] = fma(whole, mul(min, set_word(word(x_scales, r, b))), sums[r][v]);
      }
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][v] = fma(min, set_word(word(x_extra, r, b)), sums[r][v]);
    }
  }

  void run(std::uint32_t row, std::uint32_t vector) const {
    F sums[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = zero();
    for (std::uint32_t b = 0; b < blocks; ++b) {
      I dots[kRows][kVectors];
      sum_block(b, dots);
      add_block(b, dots, sums);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        store(call.out + (row + r) * call.out_stride + std::uint64_t{vector + v} * kLanes, sums[r][v]);
  }
};

template <nacelle_type kType, int kRows, int kVectors>
void quant_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t vector) {
  QuantTile<kType, kRows, kVectors>(call, row, vector).run(row, vector);
}

// Rows in tiles of kRows, then what is left.
template <nacelle_type kType, int kRows, int kVectors>
void quant_rows(const MatmulCall& call, std::uint32_t row, std::uint32_t vector) {
  for (; row + kRows <= call.rows; row += kRows) quant_tile<kType, kRows, kVectors>(call, row, vector);
  if constexpr (kRows > 1)
    if (row < call.rows) quant_rows<kType, kRows - 1, kVectors>(call, row, vector);
}

// Tiles of kRows rows and kVectors vectors; a lone row takes kLoneVectors, as there is no x to share.
template <nacelle_type kType, int kRows, int kVectors, int kLoneVectors>
void multiply_quant(const MatmulCall& call, std::uint32_t groups) {
  const std::uint32_t vectors = groups * kGroupParts;
  std::uint32_t vector = 0;
  if (call.rows == 1) {
    for (; vector + kLoneVectors <= vectors; vector += kLoneVectors)
      quant_tile<kType, 1, kLoneVectors>(call, 0, vector);
    for (; vector < vectors; ++vector) quant_tile<kType, 1, 1>(call, 0, vector);
    return;
  }
  for (; vector + kVectors <= vectors; vector += kVectors) quant_rows<kType, kRows, kVectors>(call, 0, vector);
  for (; vector < vectors; ++vector) quant_rows<kType, kRows, 1>(call, 0, vector);
}

// A row of a table of variants. `cost` as in MatmulVariant.
template <nacelle_type kType, int kRows, int kVectors, int kLoneVectors>
constexpr MatmulVariant quant_variant(const char* name, Isa isa, double cost) {
  return {name,
          2,
          kType,
          isa,
          cost,
          kFused ? "q8a-i32-f32" : "q8a-i32-f32-mul-add",
          Activation::kInt8,
          kRows,
          kVectors > kGroupParts ? kVectors / kGroupParts : 1,
          Quant<kType>::kEncode,
          multiply_quant<kType, kRows, kVectors, kLoneVectors>};
}

}  // namespace
}  // namespace nacelle::cpu
