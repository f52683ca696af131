// How a product is cut into units and kernel calls: for plans, and for the tuner, which measures what plans run.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/chunks.hpp"
#include "backends/cpu/frame.hpp"

namespace nacelle::cpu {

struct Tiling {
  std::uint32_t groups;  // of a unit
  std::uint32_t rows;    // of a unit
  std::uint32_t row_blocks;
  std::uint32_t call_units;  // the most that one kernel call takes

  // Of a matrix of so many groups.
  std::uint64_t units(std::uint32_t of) const { return std::uint64_t{(of + groups - 1) / groups} * row_blocks; }
};

// Groups of a tile that is encoded as it is made are even, so that it holds whole blocks of kQuantBlock columns.
constexpr std::uint32_t even_groups(std::uint32_t groups) { return (groups + 1) / 2 * 2; }
static_assert(2 * kGroupRows == kQuantBlock && kMostGroups % 2 == 0);

inline Tiling tile(std::uint32_t rows, const MatmulVariant& variant, bool encodes) {
  if (rows <= kFewRows) {
    const std::uint32_t least = encodes ? even_groups(1) : 1;
    return {least, rows, 1, kStreamGroups / least};
  }
  const std::uint32_t block = variant.row_block ? variant.row_block : kRowBlock;
  const std::uint32_t blocks = (rows + block - 1) / block;
  const std::uint32_t size = (rows + blocks - 1) / blocks;
  const std::uint32_t even = std::min(block, (size + variant.tile_rows - 1) / variant.tile_rows * variant.tile_rows);
  const std::uint32_t most = encodes && variant.tile_groups % 2 ? 2 * variant.tile_groups : variant.tile_groups;
  const auto fitting = static_cast<std::uint32_t>(kScratchFloats / (std::uint64_t{block} * kGroupRows));
  return {std::min(most, fitting), even, (rows + even - 1) / even, 1};
}

// A unit of many rows takes so long that claiming it costs nothing.
inline Work matmul_work(std::uint64_t units, std::uint32_t rows) { return {units, 1, false, rows <= kFewRows}; }

// body(group, groups, row, rows) for each kernel call that the units [begin, end) of a step mean for one of its
// matrices, of `groups` groups, whose units begin at `first`.
template <class Body>
void for_calls(const Tiling& tiling, std::uint32_t rows, std::uint32_t groups, std::uint64_t first, std::uint64_t begin,
               std::uint64_t end, const Body& body) {
  const std::uint64_t last = std::min(end, first + tiling.units(groups));
  for (std::uint64_t unit = std::max(begin, first), taken; unit < last; unit += taken) {
    taken = std::min<std::uint64_t>(tiling.call_units, last - unit);
    const auto group = static_cast<std::uint32_t>((unit - first) / tiling.row_blocks) * tiling.groups;
    const auto row = static_cast<std::uint32_t>((unit - first) % tiling.row_blocks) * tiling.rows;
    body(group, std::min(static_cast<std::uint32_t>(taken) * tiling.groups, groups - group), row,
         std::min(tiling.rows, rows - row));
  }
}

}  // namespace nacelle::cpu
