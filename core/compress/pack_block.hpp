// The inverse of nacelle/block_formats.hpp's take_apart: codes and scales into a stored block.
#pragma once

#include <nacelle/block_formats.hpp>

namespace nacelle::compress {

// Scales and mins of a block take this many values in the file: scale_low..scale_high and 0..most_min. 1 and 1 for a
// format without integer scales.
struct ScaleRange {
  int low, high;
  int most_min;
};
ScaleRange scale_range(nacelle_type type) noexcept;

// Writes type_info(type)->block_bytes at `to`; whatever take_apart would set is read. `parts.scale` and `parts.min` are
// rounded to the half (for MXFP4: must be a power of two that it can hold).
void put_together(nacelle_type type, const BlockParts& parts, std::uint8_t* to) noexcept;

}  // namespace nacelle::compress
