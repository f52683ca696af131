// Writes weights in the layout of backends/gpu/kernels/weights.hpp, a panel of 16 rows at a time.
#pragma once

#include <cstdint>

#include "backends/gpu/host/formats.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kPanelRows = 16;
constexpr std::uint32_t kSlices = 8;  // most of a weight: a block has a warp for each

// Sizes of a packed matrix, all of them multiples of 4 bytes.
struct PanelLayout {
  PanelLayout() = default;
  PanelLayout(const Format& format, std::uint64_t columns);

  std::uint32_t tiles = 0;
  std::uint32_t slices = 0, slice_tiles = 0;                                       // from the columns alone
  std::uint64_t code_bytes = 0, high_bytes = 0, scale_bytes = 0, super_bytes = 0;  // of a panel
};

// Where a panel's arrays go.
struct PanelOut {
  std::uint8_t *codes, *high, *scales, *supers;
};

// `rows` are 16 pointers to stored rows of `type`, nullptr for those past the end. All of the arrays are written. Any
// thread.
void pack_panel(const Format& format, nacelle_type type, std::uint64_t columns, const std::uint8_t* const* rows,
                const PanelOut& to);

}  // namespace nacelle::gpu
