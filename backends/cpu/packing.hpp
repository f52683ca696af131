// The packed form of weights, one layout a type whatever the ISA: groups of 16 output rows, lane = output row. The
// kernels' headers (quant_layout.hpp, matmul_float.hpp) draw the inside of a group. Any thread.
#pragma once

#include <cstdint>

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {

// True for the types that have a packed layout: F32, F16, BF16 and every block format.
bool packable(std::uint32_t type) noexcept;

// Bytes of one group of 16 rows of `columns`, a multiple of 64; 0 for a type without a layout.
std::uint64_t packed_group_bytes(std::uint32_t type, std::uint64_t columns) noexcept;

constexpr std::uint64_t packed_groups(std::uint64_t rows) { return (rows + kGroupRows - 1) / kGroupRows; }

// Packs up to 16 rows, `row_bytes` apart; the group's other rows become zero.
void pack_group(std::uint32_t type, const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                std::uint64_t columns, std::uint8_t* group);

// Reads one row back as f32, exactly as stored: embedding tables are kept packed, so that a tied head needs no second
// copy.
void unpack_row(std::uint32_t type, const std::uint8_t* groups, std::uint64_t row, std::uint64_t columns, float scale,
                float* out);

}  // namespace nacelle::cpu
