// Weights in any of GGUF's block formats as the kernels of matmul_quant.hpp see them, written once over the vector
// vocabulary: values, scales and mins of a block of 32 columns, lane = output row. Include after a simd_*.hpp and the
// ints_*.hpp of the same ISA.
#pragma once

#include "backends/cpu/kernels/encode.hpp"
#include "backends/cpu/kernels/hints.hpp"
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

// Up to so many rows have the codes left packed where taking them costs a shift and a mask: vectors of 512 bits do that
// beside their products, in units that these do not need, while each store of what is unpacked delays a product.
constexpr std::uint32_t kPackedRows = kLanes == 16 ? 16 : 0;

template <nacelle_type kType>
struct Quant {
  static constexpr QuantLayout kLayout = quant_layout(*block_format(kType));
  static constexpr BlockFormat kFormat = kLayout.format;
  static constexpr bool kHalves = kLayout.has_halves(), kHasMin = kFormat.has_min;
  static constexpr int kValueBits = kLayout.value_bits;
  static constexpr bool kSigned = kValueBits == 8 && !kUnsignedBytes;
  static constexpr int kQuads = kDotQuads<kValueBits>;
  static constexpr bool kPanel = kLayout.high_bits > 0 || kFormat.integer_scales;  // unpacking takes some work
  static constexpr bool kStaysPacked = kPanel && kLayout.high_bits == 0;           // for up to kPackedRows
  static constexpr int kRuns = kHalves ? 2 : 1;  // runs of columns of a block that have scales of their own
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

  // Bits [0, kBits) of each code of quad q, moved up by kUp. `line(i)`: vector i of the plane.
  template <int q, int kBits, int kUp, class Line>
  [[gnu::always_inline]] static I plane(Line line) {
    const I field = line(q % kBits);
    if constexpr (kBits == 8) return field;
    return and_i(shift_right<q / kBits * kBits - kUp>(field), set_i8(((1 << kBits) - 1) << kUp));
  }
  // The values of quad q, as the dot product takes them. `line(i)`: vector i of the block's codes, at the lanes wanted.
  template <int q, class Line>
  [[gnu::always_inline]] static I values(Line line) {
    constexpr int kLow = kLayout.low_bits, kHigh = kLayout.high_bits;
    I codes = plane<q, kLow, 0>(line);
    if constexpr (kHigh > 0)
      codes = or_i(codes, plane<q, kHigh, kLow>([&](int i) __attribute__((always_inline)) { return line(kLow + i); }));
    if constexpr (kLayout.has_codebook) codes = look_up(codes, kTable.entries);
    if constexpr (kSigned && !kLayout.has_codebook) codes = xor_i(codes, set_i8(-128));  // minus 128
    return codes;
  }

  // The f32 scales of a run of columns: `entry` holds it as number `in_entry`, from this vector's first lane.
  static F scale(const std::uint8_t* entry, std::uint32_t in_entry, std::uint32_t lane) {
    if constexpr (kType == NACELLE_TYPE_MXFP4) return exponent_scale(load_unsigned(entry + lane));
    const F whole = load_f16(reinterpret_cast<const std::uint16_t*>(entry) + lane);
    if constexpr (!kFormat.integer_scales) return whole;
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

// The vectors of a block's codes in memory.
struct Lines {
  const std::uint8_t* at;
  [[gnu::always_inline]] I operator()(int i) const { return load_i(at + i * 64); }
};

// Packed weights that are read next, fetched evenly over the steps of what is computed meanwhile.
template <int kVectors>
struct Ahead {
  const std::uint8_t* from[kVectors];  // of each group
  int groups = 0;
  std::uint32_t lines = 0;                     // of a group
  std::uint32_t steps = 1, due = 0, next = 0;  // fetched until now: next; the part of a line that is due beyond that

  [[gnu::always_inline]] void step() {
    for (due += lines; due >= steps; due -= steps, ++next)
      for (int g = 0; g < groups; ++g) prefetch<Cache::kL2>(from[g] + next * 64);
  }
};

// Far enough ahead of a stream to hide memory.
constexpr std::uint32_t kPrefetchBytes = 4096;

// Where a tile takes its weights from: `kVectors` vectors of output columns as they lie packed, ...
template <nacelle_type kType, int kVectors>
struct PackedBlocks {
  using Q = Quant<kType>;
  static constexpr bool kFetchesX = false;  // whether a tile asks for its rows of x ahead

  const std::uint8_t* groups[kVectors];   // of each vector
  std::uint32_t lanes[kVectors];          // a vector's first lane in its group
  std::uint64_t group_bytes, tile_bytes;  // to the next group, and to the next tile
  std::uint32_t blocks;

  PackedBlocks(const MatmulCall& call, std::uint32_t vector)
      : group_bytes(call.group_bytes), blocks(call.columns / kQuantBlock) {
    tile_bytes = (kVectors > kGroupParts ? kVectors / kGroupParts : 1) * call.group_bytes;
    for (int v = 0; v < kVectors; ++v) {
      const std::uint32_t at = vector + v;
      lanes[v] = at % kGroupParts * kLanes;
      groups[v] = call.weights + at / kGroupParts * call.group_bytes;
    }
  }
  const std::uint8_t* codes(int v, std::uint32_t b) const { return groups[v] + lanes[v] * 4 + Q::kLayout.codes_at(b); }
  const std::uint8_t* entry(int v, std::uint32_t b) const { return groups[v] + Q::kLayout.entry_at(b); }

  // Block b, vector v: the values of a quad; the scale of a run; the min; both halves' mins as pairs of int16.
  template <int quad>
  I values(std::uint32_t b, int v) const {
    return Q::template values<quad>(Lines{codes(v, b)});
  }
  F scale(std::uint32_t b, int run, int v) const {
    return Q::scale(entry(v, b), b % Q::kLayout.entry_blocks * Q::kRuns + run, lanes[v]);
  }
  F min(std::uint32_t b, int v) const { return Q::min(entry(v, b), b % Q::kLayout.entry_blocks, lanes[v]); }
  I min_pairs(std::uint32_t b, int v) const { return Q::min_pairs(entry(v, b), b % Q::kLayout.entry_blocks, lanes[v]); }

  // The `most` blocks from number `first` on, or the next tile's where this one's are over.
  Ahead<kVectors> after(std::uint32_t first, std::uint32_t most, std::uint32_t steps) const {
    const std::uint64_t skip = first < blocks ? 0 : tile_bytes;
    first = first < blocks ? first : 0;
    const std::uint32_t last = blocks - first < most ? blocks : first + most;
    Ahead<kVectors> ahead;
    for (int v = 0; v < kVectors; ++v)
      if (lanes[v] == 0) ahead.from[ahead.groups++] = groups[v] + Q::kLayout.begin_of(first) + skip;
    if (ahead.groups != 0)
      ahead.lines = static_cast<std::uint32_t>((Q::kLayout.begin_of(last) - Q::kLayout.begin_of(first)) / 64);
    ahead.steps = steps;
    return ahead;
  }
  // A lone row's weights come from memory: what lies kPrefetchBytes ahead of block b, scales and codes alike, line by
  // line in the order of memory. In any other order the processor's own fetching ahead does not join in, and a thread
  // reads half as fast. A group is followed by the next in memory.
  [[gnu::always_inline]] void begin_block(std::uint32_t b) const {
    // Measured on Zen 4: 8-bit codes with 16 lanes are a tenth faster from L2, with 8 lanes a third slower.
    hint<Q::kLayout.low_bits == 8 && kLanes == 16 ? Cache::kL2 : Cache::kL1>(b);
  }
  template <Cache kNear, std::uint32_t kAhead = kPrefetchBytes>
  [[gnu::always_inline]] void hint(std::uint32_t b) const {
    constexpr QuantLayout of = Q::kLayout;
    constexpr std::uint32_t kLines = of.stretch_bytes / 64, kLeast = kLines / of.stretch_blocks;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      if (lanes[v] != 0) continue;
      const std::uint32_t begin = b * kLines / of.stretch_blocks, end = (b + 1) * kLines / of.stretch_blocks;
      const std::uint8_t* ahead = groups[v] + kAhead + std::uint64_t{begin} * 64;
#pragma GCC unroll 8
      for (std::uint32_t line = 0; line < kLeast; ++line) prefetch<kNear>(ahead + line * 64);
      if (kLines % of.stretch_blocks != 0 && end - begin > kLeast) prefetch<kNear>(ahead + kLeast * 64);
    }
  }
};

// ... in two steps, into L2 and then into L1: an Intel core asks memory for no more than 16 lines at once into L1, and
// for thrice as many into L2. Measured on Granite Rapids, one thread, from memory: Q4_0 9.6 to 14.2 GB/s, of 15.
template <nacelle_type kType, int kVectors>
struct FarBlocks : PackedBlocks<kType, kVectors> {
  using PackedBlocks<kType, kVectors>::PackedBlocks;

  [[gnu::always_inline]] void begin_block(std::uint32_t b) const {
    this->template hint<Cache::kL2, 3072>(b);
    this->template hint<Cache::kL1, 1024>(b);
  }
};

// ... or unpacked: some blocks of them, made once for all tiles of many rows. Small enough to stay in L1 beside the
// sums. Scales and mins become f32; codes stay packed where taking them takes no more than a mask.
constexpr std::uint32_t kPanelBytes = 16384;

template <nacelle_type kType, int kVectors, bool kCodes>
struct Panel {
  using Q = Quant<kType>;
  static constexpr bool kFetchesX = false;
  static constexpr bool kPairs = Q::kHasMin && Q::kHalves;
  static constexpr std::uint32_t kBlocks = kPanelBytes / (sizeof(I) * kVectors * (kCodes ? 8 : 1 + Q::kHasMin)) / 8 * 8;

  I codes[kCodes ? kBlocks : 1][8][kVectors];
  F scales[kBlocks][Q::kRuns][kVectors];
  F mins[Q::kHasMin ? kBlocks : 1][kVectors];
  I pairs[kPairs ? kBlocks : 1][kVectors];
  const std::uint8_t*
      packed[kVectors];  // where they stay so: a group from block 0 of the panel on, which starts a stretch
  static_assert(kCodes || kBlocks % Q::kLayout.stretch_blocks == 0);
  mutable Ahead<kVectors> ahead;

  // Blocks [begin, begin + count) of PackedBlocks, or what has its functions. `tiles` of rows are computed before the
  // next ones are unpacked.
  template <class Blocks>
  void unpack(const Blocks& from, std::uint32_t begin, std::uint32_t count, std::uint32_t tiles) {
    ahead = from.after(begin + count, kBlocks, tiles * count);
    for (int v = 0; v < kVectors; ++v) packed[v] = from.codes(v, begin) - Q::kLayout.codes_at(0);
    for (std::uint32_t b = 0; b < count; ++b) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kCodes)
          unroll<0, 8, 1>([&](auto quad) __attribute__((always_inline)) {
            constexpr int q = decltype(quad)::value;
            codes[b][q][v] = from.template values<q>(begin + b, v);
          });
#pragma GCC unroll 2
        for (int run = 0; run < Q::kRuns; ++run) scales[b][run][v] = from.scale(begin + b, run, v);
        if constexpr (Q::kHasMin) mins[b][v] = from.min(begin + b, v);
        if constexpr (kPairs) pairs[b][v] = from.min_pairs(begin + b, v);
      }
    }
  }

  template <int quad>
  I values(std::uint32_t b, int v) const {
    if constexpr (kCodes)
      return codes[b][quad][v];
    else
      return Q::template values<quad>(Lines{packed[v] + Q::kLayout.codes_at(b)});
  }
  F scale(std::uint32_t b, int run, int v) const { return scales[b][run][v]; }
  F min(std::uint32_t b, int v) const { return mins[b][v]; }
  I min_pairs(std::uint32_t b, int v) const { return pairs[b][v]; }
  [[gnu::always_inline]] void begin_block(std::uint32_t) const { ahead.step(); }
};

}  // namespace
}  // namespace nacelle::cpu
