// Packing moves bytes and never rounds: what a kernel reads is what the file held.
#include "backends/cpu/packing.hpp"

#include <nacelle/graph.h>

#include <cstring>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

#include "backends/cpu/kernels/quant_layout.hpp"

namespace nacelle::cpu {
namespace {

std::uint64_t element_bytes(std::uint32_t type) { return type == NACELLE_TYPE_F32 ? 4 : 2; }

// [columns][16] of elements of a plain type.
template <class Element>
void pack_plain(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
                std::uint8_t* group) {
  for (std::uint32_t r = 0; r < count; ++r) {
    const std::uint8_t* from = rows + r * row_bytes;
    std::uint8_t* to = group + r * sizeof(Element);
    for (std::uint64_t k = 0; k < columns; ++k)
      std::memcpy(to + k * kGroupRows * sizeof(Element), from + k * sizeof(Element), sizeof(Element));
  }
}

// [columns / 2][16][2]
void pack_pairs(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
                std::uint8_t* group) {
  for (std::uint32_t r = 0; r < count; ++r) {
    const std::uint8_t* from = rows + r * row_bytes;
    std::uint8_t* to = group + r * 4;
    std::uint64_t k = 0;
    for (; k + 2 <= columns; k += 2) std::memcpy(to + k * 32, from + k * 2, 4);
    if (k < columns) std::memcpy(to + k * 32, from + k * 2, 2);
  }
}

// The codes of a block of 32 columns, for one lane: word w of a plane holds quads w, w + bits, ... of it.
void pack_plane(const std::uint8_t (&codes)[kQuantBlock], int down, int bits, std::uint8_t* to) {
  for (int vector = 0; vector < bits; ++vector) {
    std::uint32_t word = 0;
    for (int field = 0; field < 8 / bits; ++field) {
      std::uint32_t quad;
      std::memcpy(&quad, codes + 4 * (field * bits + vector), 4);
      word |= (quad >> down & (0x01010101u * ((1u << bits) - 1))) << field * bits;
    }
    std::memcpy(to + vector * 64, &word, 4);
  }
}

void put_half(std::uint8_t* to, std::uint64_t lane, float x) {
  const std::uint16_t half = float_to_half(x);  // exact: it was one
  std::memcpy(to + lane * 2, &half, 2);
}

// The scale entry of a block for one lane.
void pack_scales(const QuantLayout& layout, const std::uint8_t* block, const BlockParts& parts, std::uint64_t lane,
                 std::uint8_t* entry) {
  if (layout.format.type == NACELLE_TYPE_MXFP4)
    entry[lane] = block[0];
  else
    put_half(entry, lane, parts.scale);
  if (layout.format.has_min) put_half(entry + layout.min_at, lane, parts.min);
  if (!layout.format.integer_scales) return;
  for (std::uint32_t sub = 0; sub < layout.format.elements / layout.format.sub_elements; ++sub) {
    std::uint8_t* record = entry + layout.factors_at + sub * layout.factor_bytes + lane;
    const auto scale = static_cast<std::uint8_t>(parts.scales[sub]);
    record[0] = layout.shares_byte() ? static_cast<std::uint8_t>(scale | parts.mins[sub] << 4) : scale;
    if (layout.format.has_min && !layout.shares_byte()) record[kGroupRows] = parts.mins[sub];
  }
}

void pack_blocks(const QuantLayout& layout, const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                 std::uint64_t columns, std::uint8_t* group) {
  const std::uint64_t block_bytes = type_info(layout.format.type)->block_bytes;
  for (std::uint64_t b = 0; b < columns / layout.format.elements; ++b)
    for (std::uint32_t lane = 0; lane < count; ++lane) {
      const std::uint8_t* block = rows + lane * row_bytes + b * block_bytes;
      BlockParts parts;
      take_apart(layout.format.type, block, parts);
      for (std::uint32_t i = 0; i < layout.entry_blocks; ++i) {
        std::uint8_t codes[kQuantBlock];
        std::memcpy(codes, parts.codes + i * kQuantBlock, sizeof codes);
        std::uint8_t* to = group + layout.codes_at(b * layout.entry_blocks + i) + lane * 4;
        pack_plane(codes, 0, layout.low_bits, to);
        if (layout.high_bits) pack_plane(codes, layout.low_bits, layout.high_bits, to + layout.low_bits * 64);
      }
      pack_scales(layout, block, parts, lane, group + layout.entry_at(b * layout.entry_blocks));
    }
}

// Flattened, so that the format is a constant of every loop: a model has a billion codes. It halves the time of blocks
// of 32, and gains nothing on blocks of 256.
template <nacelle_type kType>
[[gnu::flatten]] void pack_quantised(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                                     std::uint64_t columns, std::uint8_t* group) {
  pack_blocks(quant_layout(*block_format(kType)), rows, row_bytes, count, columns, group);
}

void pack_format(const BlockFormat& format, const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                 std::uint64_t columns, std::uint8_t* group) {
  switch (format.type) {
    case NACELLE_TYPE_Q8_0: return pack_quantised<NACELLE_TYPE_Q8_0>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_Q4_0: return pack_quantised<NACELLE_TYPE_Q4_0>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_Q5_0: return pack_quantised<NACELLE_TYPE_Q5_0>(rows, row_bytes, count, columns, group);
    default: return pack_blocks(quant_layout(format), rows, row_bytes, count, columns, group);
  }
}

std::uint16_t read_u16(const std::uint8_t* p) {
  std::uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}

// Bits [0, bits) of the code of column i of a block's plane.
std::uint32_t plane_code(const std::uint8_t* plane, int bits, std::uint64_t i) {
  const int quad = static_cast<int>(i / 4);
  return plane[quad % bits * 64 + i % 4] >> quad / bits * bits & ((1u << bits) - 1);
}

// By the formula of block_formats.hpp.
float quantised_element(const QuantLayout& layout, const std::uint8_t* group, std::uint64_t lane, std::uint64_t k) {
  const BlockFormat& format = layout.format;
  const std::uint8_t* codes = group + layout.codes_at(k / kQuantBlock) + lane * 4;
  std::uint32_t code = plane_code(codes, layout.low_bits, k % kQuantBlock);
  if (layout.high_bits)
    code |= plane_code(codes + layout.low_bits * 64, layout.high_bits, k % kQuantBlock) << layout.low_bits;
  const std::uint8_t* entry = group + layout.entry_at(k / kQuantBlock);
  float scale = format.type == NACELLE_TYPE_MXFP4 ? block_detail::mxfp4_scale(entry[lane])
                                                  : half_to_float(read_u16(entry + lane * 2));
  float min = format.has_min ? half_to_float(read_u16(entry + layout.min_at + lane * 2)) : 0.0f;
  if (format.integer_scales) {
    const std::uint64_t sub = k % format.elements / format.sub_elements;
    const std::uint8_t* record = entry + layout.factors_at + sub * layout.factor_bytes + lane;
    scale *= static_cast<float>(layout.shares_byte() ? record[0] & 15 : static_cast<std::int8_t>(record[0]));
    if (format.has_min) min *= static_cast<float>(layout.shares_byte() ? record[0] >> 4 : record[kGroupRows]);
  }
  const std::int32_t value = format.codebook ? format.codebook[code] : static_cast<std::int32_t>(code) - format.offset;
  return scale * static_cast<float>(value) - min;
}

}  // namespace

bool packable(std::uint32_t type) noexcept { return packed_group_bytes(type, 256) != 0; }

std::uint64_t packed_group_bytes(std::uint32_t type, std::uint64_t columns) noexcept {
  const std::uint64_t blocks = columns / kQuantBlock;
  std::uint64_t bytes = 0;
  switch (type) {
    case NACELLE_TYPE_F32: bytes = columns * 64; break;
    case NACELLE_TYPE_F16: bytes = columns * 32; break;
    case NACELLE_TYPE_BF16: bytes = (columns + 1) / 2 * 64; break;
    default:
      if (const BlockFormat* format = block_format(type)) bytes = quant_layout(*format).begin_of(blocks);
  }
  return (bytes + 63) / 64 * 64;
}

void pack_group(std::uint32_t type, const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                std::uint64_t columns, std::uint8_t* group) {
  const BlockFormat* format = block_format(type);
  // A part-filled group or pair of columns, and scales of a last stretch that has fewer blocks.
  if (count < kGroupRows || columns % 2 || (format && columns / kQuantBlock % quant_layout(*format).stretch_blocks))
    std::memset(group, 0, packed_group_bytes(type, columns));
  switch (type) {
    case NACELLE_TYPE_F32: return pack_plain<std::uint32_t>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_F16: return pack_plain<std::uint16_t>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_BF16: return pack_pairs(rows, row_bytes, count, columns, group);
    default:
      if (format) pack_format(*format, rows, row_bytes, count, columns, group);
  }
}

void unpack_row(std::uint32_t type, const std::uint8_t* groups, std::uint64_t row, std::uint64_t columns, float scale,
                float* out) {
  const std::uint8_t* group = groups + row / kGroupRows * packed_group_bytes(type, columns);
  const std::uint64_t lane = row % kGroupRows, element = element_bytes(type);
  const BlockFormat* format = block_format(type);
  const QuantLayout layout = format ? quant_layout(*format) : QuantLayout{};
  for (std::uint64_t k = 0; k < columns; ++k) {
    const std::uint8_t* plain = group + (k * kGroupRows + lane) * element;
    switch (type) {
      case NACELLE_TYPE_F32: std::memcpy(out + k, plain, 4); break;
      case NACELLE_TYPE_F16: out[k] = half_to_float(read_u16(plain)); break;
      case NACELLE_TYPE_BF16: out[k] = bfloat16_to_float(read_u16(group + k / 2 * 64 + lane * 4 + k % 2 * 2)); break;
      default: out[k] = quantised_element(layout, group, lane, k); break;
    }
    out[k] *= scale;
  }
}

std::uint64_t key_tile_bytes(std::uint32_t type, std::uint32_t width) noexcept {
  const std::uint64_t scales = padded(width, kQuantBlock) / kQuantBlock * 2;
  switch (type) {
    case NACELLE_TYPE_F32: return kTileTokens * 4ull * width;
    case NACELLE_TYPE_F16:
    case NACELLE_TYPE_BF16: return kTileTokens * 2ull * width;
    case NACELLE_TYPE_Q8_0: return kTileTokens * (width + scales);
    case NACELLE_TYPE_Q4_0: return kTileTokens * (padded(width, kQuantBlock) / 2 + scales);
    default: return 0;
  }
}

std::uint64_t value_row_bytes(std::uint32_t type, std::uint32_t width) noexcept {
  const std::uint64_t scales = padded(width, kQuantBlock) / kQuantBlock * 2;
  switch (type) {
    case NACELLE_TYPE_F32: return 4 * padded(width);
    case NACELLE_TYPE_F16:
    case NACELLE_TYPE_BF16: return 2 * padded(width);
    case NACELLE_TYPE_Q8_0: return padded(width) + scales;
    case NACELLE_TYPE_Q4_0: return padded(width, kQuantBlock) / 2 + scales;
    default: return 0;
  }
}

}  // namespace nacelle::cpu
