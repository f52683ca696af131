// The tile registers of AMX: their shapes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace nacelle::cpu {
namespace {

constexpr std::uint32_t kTile = 16;  // rows of a tile, and its columns of four bytes

// The operand of ldtilecfg: rows and bytes a row of each tile register.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  constexpr void set(int tile, std::uint32_t row_count, std::uint32_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(row_count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

// GCC 12's intrinsics do not say what memory they read: what was written before must be there.
inline void settle_memory(const void* memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }
inline void configure(const TileShapes& shapes) {
  settle_memory(&shapes);
  _tile_loadconfig(&shapes);
}

}  // namespace
}  // namespace nacelle::cpu
