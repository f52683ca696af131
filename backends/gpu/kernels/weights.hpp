// How packed weights are read. A matrix is cut into panels of 16 rows, a panel into tiles along its columns, and a tile
// is stored as the 32 lanes of a warp hold it: lane 4g + t has, of rows g and g + 8, columns 4t .. 4t + 3 of each 16.
// So a warp reads a tile in one piece, and the same piece is the A fragment of an m16n8k16 product: that the hardware
// would call these columns 2t, 2t + 1, 2t + 8 and 2t + 9 changes nothing while both factors agree.
//
// A format is a type with: kColumns of a tile; Fragment, what a lane holds of one; load; and the values in it, either
// as pairs of f16 or bf16 for the tensor cores, or as f32. backends/gpu/host/packing.cpp writes what is read here.
#pragma once

#include "backends/gpu/kernels/arguments.hpp"
#include "backends/gpu/simt.hpp"

namespace nacelle::gpu {

using simt::Words2;
using simt::Words4;

constexpr std::uint32_t kPanel = 16;

// The lane that holds (row, column) of a tile of 16 columns, and which of its 8 elements that is.
struct LanePlace {
  std::uint32_t lane, element;
};
SIMT_DEVICE LanePlace place_of(std::uint32_t row, std::uint32_t column) {
  return {row % 8 * 4 + column % 16 / 4, row / 8 * 4 + column % 4};
}

// ---- Plain types

struct F32Weights {
  static constexpr std::uint32_t kColumns = 16;
  static constexpr bool kBlocks = false;
  struct Fragment {
    float values[8];  // rows g and g + 8, four columns each
  };
  static SIMT_DEVICE void load(const PackedWeights& w, std::uint32_t panel, std::uint32_t tile, Fragment& to) {
    const auto* from = reinterpret_cast<const Words4*>(w.codes) +
                       (static_cast<std::uint64_t>(panel) * w.tiles + tile) * 64 + simt::lane() * 2;
    const Words4 a = from[0], b = from[1];
    const std::uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    SIMT_UNROLL for (std::uint32_t i = 0; i < 8; ++i) to.values[i] = simt::bits_to_float(words[i]);
  }
  static SIMT_DEVICE float value(const Fragment& from, std::uint32_t, std::uint32_t element) {
    return from.values[element];
  }
  static SIMT_DEVICE float element(const PackedWeights& w, std::uint32_t row, std::uint32_t column) {
    const LanePlace at = place_of(row % kPanel, column);
    const std::uint64_t tile = static_cast<std::uint64_t>(row / kPanel) * w.tiles + column / 16;
    return reinterpret_cast<const float*>(w.codes)[(tile * 32 + at.lane) * 8 + at.element];
  }
};

template <bool kBfloat16>
struct NarrowWeights {
  static constexpr std::uint32_t kColumns = 16;
  static constexpr bool kBlocks = false;
  static constexpr bool kBfloat = kBfloat16;
  struct Fragment {
    std::uint32_t pairs[4];  // row g, columns 0-1 and 2-3; row g + 8 the same
  };
  static SIMT_DEVICE float widen(std::uint32_t bits) {
    return kBfloat16 ? simt::bfloat16_to_float(static_cast<std::uint16_t>(bits))
                     : simt::half_to_float(static_cast<std::uint16_t>(bits));
  }
  static SIMT_DEVICE void load(const PackedWeights& w, std::uint32_t panel, std::uint32_t tile, Fragment& to) {
    const Words4 words = reinterpret_cast<const Words4*>(
        w.codes)[(static_cast<std::uint64_t>(panel) * w.tiles + tile) * 32 + simt::lane()];
    to.pairs[0] = words.x;
    to.pairs[1] = words.y;
    to.pairs[2] = words.z;
    to.pairs[3] = words.w;
  }
  static SIMT_DEVICE float value(const Fragment& from, std::uint32_t, std::uint32_t element) {
    return widen(from.pairs[element / 2] >> (element % 2 * 16) & 0xffff);
  }
  // The A fragment: registers hold rows g, g + 8, g, g + 8.
  static SIMT_DEVICE void pairs(const Fragment& from, std::uint32_t, std::uint32_t (&a)[4]) {
    a[0] = from.pairs[0];
    a[1] = from.pairs[2];
    a[2] = from.pairs[1];
    a[3] = from.pairs[3];
  }
  static SIMT_DEVICE float element(const PackedWeights& w, std::uint32_t row, std::uint32_t column) {
    const LanePlace at = place_of(row % kPanel, column);
    const std::uint64_t tile = static_cast<std::uint64_t>(row / kPanel) * w.tiles + column / 16;
    return widen(reinterpret_cast<const std::uint16_t*>(w.codes)[(tile * 32 + at.lane) * 8 + at.element]);
  }
};
using F16Weights = NarrowWeights<false>;
using Bf16Weights = NarrowWeights<true>;

// ---- Block formats: element = scale * (code - offset) - min

enum class Scales {
  kHalf,     // f16 [16 rows], of 32 columns
  kInteger,  // i8 (and u8 mins) of 32 or 16 columns, times f16 (and f16) of 256
  kFloat     // f32 {scale, scale, min, min}, of 16 columns each: any format
};

// Codes of 4 bits lie two in a byte, those of 8 bits one; the upper two of 6 bits lie apart. They are ordered so that a
// shift and a mask bring a pair into the two halves of a word: the pair p of a word is at p, and half a word above it.
template <std::uint32_t kBits, std::uint32_t kOffset, Scales kScales, std::uint32_t kSub, bool kHasMin>
struct BlockWeights {
  static constexpr std::uint32_t kColumns = 32;
  static constexpr bool kBlocks = true;
  static constexpr bool kBfloat = false;
  static constexpr bool kMin = kHasMin;
  static constexpr std::uint32_t kSubColumns = kSub;
  static constexpr std::uint32_t kCodeWords = kBits == 8 ? 4 : 2;  // of a lane
  struct Fragment {
    std::uint32_t codes[kCodeWords], high;
  };
  struct Scale {
    float scale, min;
  };

  static SIMT_DEVICE void load(const PackedWeights& w, std::uint32_t panel, std::uint32_t tile, Fragment& to) {
    const std::uint64_t at = (static_cast<std::uint64_t>(panel) * w.tiles + tile) * 32 + simt::lane();
    if (kBits == 8) {
      const Words4 words = reinterpret_cast<const Words4*>(w.codes)[at];
      to.codes[0] = words.x;
      to.codes[1] = words.y;
      to.codes[kCodeWords - 2] = words.z;
      to.codes[kCodeWords - 1] = words.w;
    } else {
      const Words2 words = reinterpret_cast<const Words2*>(w.codes)[at];
      to.codes[0] = words.x;
      to.codes[1] = words.y;
    }
    to.high = kBits == 6 ? reinterpret_cast<const std::uint32_t*>(w.high)[at] : 0;
  }

  // Codes 2p and 2p + 1 of the lane's 16, one in each half of the word. Eight belong to each 16 columns.
  static SIMT_DEVICE std::uint32_t codes(const Fragment& from, std::uint32_t p) {
    if (kBits == 8) return from.codes[p / 2] >> (p % 2 * 8) & 0x00ff00ffu;
    const std::uint32_t low = from.codes[p / 4] >> (p % 4 * 4) & 0x000f000fu;
    return kBits == 6 ? low | (from.high >> (p * 2) & 0x00030003u) << 4 : low;
  }
  static SIMT_DEVICE float value(const Fragment& from, std::uint32_t half, std::uint32_t element) {
    const std::uint32_t pair = codes(from, half * 4 + element / 2);
    return static_cast<float>(static_cast<std::int32_t>(pair >> (element % 2 * 16) & 0xffff) -
                              static_cast<std::int32_t>(kOffset));
  }
  static SIMT_DEVICE void pairs(const Fragment& from, std::uint32_t half, std::uint32_t (&a)[4]) {
    a[0] = simt::code_pair(codes(from, half * 4), kOffset);
    a[1] = simt::code_pair(codes(from, half * 4 + 2), kOffset);
    a[2] = simt::code_pair(codes(from, half * 4 + 1), kOffset);
    a[3] = simt::code_pair(codes(from, half * 4 + 3), kOffset);
  }

  // Of row `row` of the panel and 16 columns of a tile. Products of a scale and an integer are exact.
  static SIMT_DEVICE Scale scale(const PackedWeights& w, std::uint32_t panel, std::uint32_t tile, std::uint32_t half,
                                 std::uint32_t row) {
    const std::uint64_t at = (static_cast<std::uint64_t>(panel) * w.tiles + tile) * kPanel + row;
    if (kScales == Scales::kHalf)
      return {simt::half_to_float(reinterpret_cast<const std::uint16_t*>(w.scales)[at]), 0.0f};
    if (kScales == Scales::kFloat) {
      const auto* from = reinterpret_cast<const float*>(w.scales) + at * 4;
      return {from[half], from[2 + half]};
    }
    const std::uint64_t super = static_cast<std::uint64_t>(panel) * (w.tiles / 8) + tile / 8;
    const auto* wide = reinterpret_cast<const std::uint16_t*>(w.supers) + (super * kPanel + row) * (kHasMin ? 2 : 1);
    const std::uint8_t* narrow = w.scales + at * (kHasMin || kSub == 16 ? 2 : 1);
    const auto factor = static_cast<std::int8_t>(narrow[kSub == 16 ? half : 0]);
    Scale of{simt::half_to_float(wide[0]) * static_cast<float>(factor), 0.0f};
    if (kHasMin) of.min = simt::half_to_float(wide[kHasMin ? 1 : 0]) * static_cast<float>(narrow[1]);
    return of;
  }

  static SIMT_DEVICE float element(const PackedWeights& w, std::uint32_t row, std::uint32_t column) {
    const std::uint32_t panel = row / kPanel, tile = column / 32, half = column % 32 / 16;
    const LanePlace at = place_of(row % kPanel, column);
    const std::uint64_t word = (static_cast<std::uint64_t>(panel) * w.tiles + tile) * 32 + at.lane;
    Fragment from;
    SIMT_UNROLL for (std::uint32_t i = 0; i < kCodeWords; ++i) from.codes[i] =
        reinterpret_cast<const std::uint32_t*>(w.codes)[word * kCodeWords + i];
    from.high = kBits == 6 ? reinterpret_cast<const std::uint32_t*>(w.high)[word] : 0;
    const Scale of = scale(w, panel, tile, half, row % kPanel);
    return fmaf(of.scale, value(from, half, at.element), -of.min);
  }
};

using Q8Weights = BlockWeights<8, 128, Scales::kHalf, 32, false>;     // Q8_0
using Q4Weights = BlockWeights<4, 8, Scales::kHalf, 32, false>;       // Q4_0
using Q4KWeights = BlockWeights<4, 0, Scales::kInteger, 32, true>;    // Q4_K
using Q6KWeights = BlockWeights<6, 32, Scales::kInteger, 16, false>;  // Q6_K
using AnyWeights = BlockWeights<8, 128, Scales::kFloat, 16, true>;    // the others, repacked

}  // namespace nacelle::gpu
