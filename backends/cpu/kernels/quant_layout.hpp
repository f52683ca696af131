// How block formats lie in memory once packed: one rule for all of them, so that one kernel text serves every format.
//
// A group of 16 weight rows, lane = row, is a row of stretches: the scales of some blocks of 32 columns, as few as fill
// whole cache lines, then these blocks' codes. So whoever reads a group front to back, and the next one behind it,
// reads one stream of memory, which is what processors fetch ahead best. Codes: a block's 32 columns are 8 quads of 4.
// Their bits are parted into a low plane of 8, 4 or 2 bits and a high plane of 2, 1 or no bits. A plane of b bits is b
// vectors of 64 bytes ([16 rows][4 columns]); quad q lies in vector q % b, shifted left by q / b * b. So a nibble
// vector holds quads v and v + 4, as most files do. Scales, for each block as the file counts them (32 or 256 columns),
// [16 rows] each: the scale (f16; MXFP4: its exponent, a byte), the min (f16) where the format has one, then for each
// sub-block its scale (int8), and its min (uint8). Q2_K: scale and min of a sub-block share a byte, as in the file.
#pragma once

#include <cstdint>
#include <nacelle/block_formats.hpp>

namespace nacelle::cpu {

struct QuantLayout {
  BlockFormat format;
  int low_bits, high_bits;
  std::uint32_t code_bytes;          // of a block of 32 columns
  std::uint32_t entry_blocks;        // blocks of 32 columns that share a scale entry
  std::uint32_t min_at, factors_at;  // inside the entry: the mins, the sub-blocks' records
  std::uint32_t factor_bytes;        // of a sub-block's record; 0 where the format has no integer scales
  std::uint32_t entry_bytes;
  std::uint32_t stretch_blocks, scale_bytes, stretch_bytes;  // of a stretch; its scales are scale_bytes
  // What is added to a value so that it is unsigned: the dot product's first operand is value(code) + offset.
  std::int32_t offset;
  int value_bits;  // that hold it
  bool has_codebook;

  constexpr bool has_halves() const { return format.sub_elements == 16; }
  constexpr bool shares_byte() const { return format.type == NACELLE_TYPE_Q2_K; }

  // Bytes from the start of a group to the codes of block b, to its scale entry, and to the first byte of what is read
  // for it after block b - 1.
  constexpr std::uint64_t codes_at(std::uint64_t b) const {
    return b / stretch_blocks * stretch_bytes + scale_bytes + b % stretch_blocks * code_bytes;
  }
  constexpr std::uint64_t entry_at(std::uint64_t b) const {
    return b / stretch_blocks * stretch_bytes + b % stretch_blocks / entry_blocks * entry_bytes;
  }
  constexpr std::uint64_t begin_of(std::uint64_t b) const {
    return codes_at(b) - (b % stretch_blocks == 0 ? scale_bytes : 0);
  }
};

constexpr QuantLayout quant_layout(const BlockFormat& format) {
  QuantLayout of{};
  of.format = format;
  const int bits = static_cast<int>(format.code_bits);
  of.low_bits = bits == 8 ? 8 : bits >= 4 ? 4 : 2;
  of.high_bits = bits - of.low_bits;
  of.code_bytes = 64 * format.code_bits;
  of.entry_blocks = format.elements / 32;
  of.min_at = format.type == NACELLE_TYPE_MXFP4 ? 16 : 32;
  of.factors_at = of.min_at + (format.has_min ? 32 : 0);
  if (format.integer_scales) of.factor_bytes = format.has_min && !of.shares_byte() ? 32 : 16;
  of.entry_bytes = of.factors_at + of.factor_bytes * format.elements / format.sub_elements;
  of.stretch_blocks = of.entry_blocks;
  of.scale_bytes = of.entry_bytes;
  while (of.scale_bytes % 64 != 0) {
    of.stretch_blocks += of.entry_blocks;
    of.scale_bytes += of.entry_bytes;
  }
  of.stretch_bytes = of.scale_bytes + of.stretch_blocks * of.code_bytes;
  of.offset = format.offset;
  of.value_bits = bits;
  // Codes that are neither shifted nor have a min would never be negative: they number a codebook. (The pointer itself
  // is no constant to GCC 12 under UBSan.)
  of.has_codebook = format.offset == 0 && !format.has_min;
  if (of.has_codebook) {
    std::int32_t lowest = 0, highest = 0;
    for (int i = 0; i < 16; ++i) {
      lowest = format.codebook[i] < lowest ? format.codebook[i] : lowest;
      highest = format.codebook[i] > highest ? format.codebook[i] : highest;
    }
    of.offset = highest - lowest < 32 ? -lowest : 128;
    of.value_bits = highest - lowest < 32 ? 5 : 8;
  }
  return of;
}

}  // namespace nacelle::cpu
