#include "backends/gpu/host/packing.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/types.hpp>

namespace nacelle::gpu {
namespace {

// The lane of a warp that holds (row, column) of 16 columns, and which of its 8 elements that is.
struct LanePlace {
  std::uint32_t lane, element;
};
LanePlace place_of(std::uint32_t row, std::uint32_t column) {
  return {row % 8 * 4 + column % 16 / 4, row / 8 * 4 + column % 4};
}

void pack_plain(std::uint32_t element_bytes, std::uint64_t columns, std::uint32_t row, const std::uint8_t* from,
                std::uint8_t* codes) {
  for (std::uint64_t column = 0; column < columns; ++column) {
    const LanePlace at = place_of(row, static_cast<std::uint32_t>(column));
    std::memcpy(codes + ((column / 16 * 32 + at.lane) * 8 + at.element) * element_bytes, from + column * element_bytes,
                element_bytes);
  }
}

// Puts code `index` of a lane's 16 where kernels look for it: see BlockWeights::codes.
void put_code(const Format& format, std::uint32_t index, std::uint32_t code, std::uint8_t* lane_codes,
              std::uint32_t* lane_high) {
  const std::uint32_t pair = index / 2, odd = index % 2;
  if (format.lane_bytes == 16) {
    lane_codes[pair / 2 * 4 + pair % 2 + 2 * odd] = static_cast<std::uint8_t>(code);
    return;
  }
  std::uint32_t word;
  std::memcpy(&word, lane_codes + pair / 4 * 4, 4);
  word |= (code & 15) << (pair % 4 * 4 + 16 * odd);
  std::memcpy(lane_codes + pair / 4 * 4, &word, 4);
  if (lane_high) {
    std::memcpy(&word, lane_high, 4);
    word |= (code >> 4) << (pair * 2 + 16 * odd);
    std::memcpy(lane_high, &word, 4);
  }
}

// The scales of 32 columns of a row.
void put_scales(const Format& format, const BlockFormat& of, const BlockParts& parts, std::uint32_t first,
                const std::uint8_t* block, std::uint8_t* scales) {
  const std::uint32_t sub = first / of.sub_elements, second = (first + 16) / of.sub_elements;
  if (format.type == NACELLE_TYPE_INVALID) {
    const float values[4] = {parts.scale * parts.scales[sub], parts.scale * parts.scales[second],
                             parts.min * parts.mins[sub], parts.min * parts.mins[second]};
    std::memcpy(scales, values, sizeof values);
  } else if (of.integer_scales) {
    scales[0] = static_cast<std::uint8_t>(parts.scales[sub]);
    scales[1] = of.has_min ? parts.mins[sub] : static_cast<std::uint8_t>(parts.scales[second]);
  } else {
    std::memcpy(scales, block + of.scale_at, 2);
  }
}

void pack_blocks(const Format& format, nacelle_type type, std::uint64_t columns, std::uint32_t row,
                 const std::uint8_t* from, const PanelOut& to) {
  const BlockFormat& of = *block_format(type);
  const std::uint32_t bytes = type_info(type)->block_bytes;
  BlockParts parts;
  for (std::uint64_t begin = 0; begin < columns; begin += of.elements, from += bytes) {
    take_apart(type, from, parts);
    for (std::uint32_t first = 0; first < of.elements; first += 32) {
      const std::uint64_t tile = (begin + first) / 32;
      for (std::uint32_t i = 0; i < 32; ++i) {
        std::uint32_t code = parts.codes[first + i];
        if (format.type == NACELLE_TYPE_INVALID)
          code =
              static_cast<std::uint32_t>((of.codebook ? of.codebook[code] : static_cast<int>(code) - of.offset) + 128);
        const LanePlace at = place_of(row, i);
        std::uint32_t* high =
            format.high_bytes ? reinterpret_cast<std::uint32_t*>(to.high) + tile * 32 + at.lane : nullptr;
        put_code(format, i / 16 * 8 + at.element, code, to.codes + (tile * 32 + at.lane) * format.lane_bytes, high);
      }
      put_scales(format, of, parts, first, from, to.scales + (tile * kPanelRows + row) * format.scale_bytes);
    }
    if (format.super_bytes) {
      std::uint8_t* super = to.supers + (begin / 256 * kPanelRows + row) * format.super_bytes;
      std::memcpy(super, from + of.scale_at, 2);
      if (of.has_min) std::memcpy(super + 2, from + of.min_at, 2);
    }
  }
}

}  // namespace

PanelLayout::PanelLayout(const Format& format, std::uint64_t columns) {
  tiles = static_cast<std::uint32_t>((columns + format.tile_columns - 1) / format.tile_columns);
  slice_tiles = (tiles + kSlices - 1) / kSlices;
  slices = (tiles + slice_tiles - 1) / slice_tiles;
  code_bytes = std::uint64_t{tiles} * 32 * format.lane_bytes;
  high_bytes = std::uint64_t{tiles} * 32 * format.high_bytes;
  scale_bytes = std::uint64_t{tiles} * kPanelRows * format.scale_bytes;
  super_bytes = std::uint64_t{tiles / 8} * kPanelRows * format.super_bytes;
}

// Codes of rows and columns that are not there are 0 under a scale of 0.
void pack_panel(const Format& format, nacelle_type type, std::uint64_t columns, const std::uint8_t* const* rows,
                const PanelOut& to) {
  const PanelLayout layout(format, columns);
  std::memset(to.codes, 0, layout.code_bytes);
  if (layout.high_bytes) std::memset(to.high, 0, layout.high_bytes);
  if (layout.scale_bytes) std::memset(to.scales, 0, layout.scale_bytes);
  if (layout.super_bytes) std::memset(to.supers, 0, layout.super_bytes);
  for (std::uint32_t row = 0; row < kPanelRows; ++row) {
    if (!rows[row]) continue;
    if (format.tile_columns == 16)
      pack_plain(format.lane_bytes / 8, columns, row, rows[row], to.codes);
    else
      pack_blocks(format, type, columns, row, rows[row], to);
  }
}

}  // namespace nacelle::gpu
