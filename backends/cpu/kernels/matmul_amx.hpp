// Matmul with the tiles of AMX. Include after matmul_quant.hpp.
//
// A tile of sums is 16 rows of x by 16 output rows. What a packed group holds of 64 bytes, [16 rows][4 columns], is one
// row of the second operand as it stands. The sums of a run of columns are exact in int32, and go on as in
// matmul_quant.hpp: the same bits. BF16 is a numerics class of its own: a tile adds up even and odd columns apart.
#pragma once

#include "backends/cpu/kernels/matmul_bf16_avx512.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

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

// ---- Block formats: register 0 holds the sums, 1 the run of x, 2 that of the weights.

template <nacelle_type kType>
constexpr TileShapes run_shapes() {
  constexpr std::uint32_t kQuads = 8 / Quant<kType>::kRuns;
  TileShapes shapes;
  shapes.set(0, kTile, 64);
  shapes.set(1, kTile, kQuads * 4);
  shapes.set(2, kQuads, 64);
  return shapes;
}

template <nacelle_type kType>
using AmxPanel = Panel<kType, 1, true>;

// sums += a panel's blocks for 16 rows.
template <nacelle_type kType>
void amx_tile(const MatmulCall& call, std::uint32_t row, const AmxPanel<kType>& panel, std::uint32_t first_block,
              std::uint32_t count, F (&sums)[kTile][1]) {
  using Tile = QuantTile<kType, kTile, 1, AmxPanel<kType>>;
  const Tile tile(call, row, kTile, panel, first_block);
  settle_memory(&panel);
  for (std::uint32_t b = 0; b < count; ++b) {
    panel.begin_block(b);
    tile.add_block(
        b,
        [&](auto r, I(&dots)[kTile][1]) __attribute__((always_inline)) {
          constexpr int kRun = decltype(r)::value, kQuad = kRun * Tile::kRunQuads;
          _tile_zero(0);
          _tile_loadd(1, tile.x + b * kQuantBlock + kQuad * 4, call.x_stride);
          _tile_loadd(2, panel.codes[b][kQuad], 64);
          _tile_dpbsud(0, 1, 2);
          _tile_stored(0, dots, 64);
          for (int i = 0; i < static_cast<int>(kTile); ++i) dots[i][0] = add_i(dots[i][0], tile.start(b, kRun, i));
        },
        sums);
    if constexpr (Quant<kType>::kHasMin) tile.add_min(b, sums);
  }
}

// As quant_panels, for a multiple of 16 rows.
template <nacelle_type kType>
void amx_panels(const MatmulCall& call, std::uint32_t vector) {
  static_assert(kPanelRows % kTile == 0);
  const PackedBlocks<kType, 1> packed(call, vector);
  const std::uint32_t blocks = call.columns / kQuantBlock;
  AmxPanel<kType> panel;
  F sums[kPanelRows / kTile][kTile][1];
  for (std::uint32_t first = 0; first < call.rows; first += kPanelRows) {
    const std::uint32_t tiles = (call.rows - first < kPanelRows ? call.rows - first : kPanelRows) / kTile;
    for (auto& tile : sums)
      for (auto& row : tile) row[0] = zero();
    for (std::uint32_t b = 0; b < blocks; b += panel.kBlocks) {
      const std::uint32_t count = blocks - b < panel.kBlocks ? blocks - b : panel.kBlocks;
      panel.unpack(packed, b, count, tiles);
      for (std::uint32_t t = 0; t < tiles; ++t) amx_tile<kType>(call, first + t * kTile, panel, b, count, sums[t]);
    }
    for (std::uint32_t r = 0; r < tiles * kTile; ++r)
      store(call.out + (first + r) * call.out_stride + std::uint64_t{vector} * kLanes, sums[r / kTile][r % kTile][0]);
  }
}

// The variant of the class that takes what fills no tile: AVX-512 VNNI's.
template <nacelle_type kType>
void multiply_rest(const MatmulCall& call, std::uint32_t groups) {
  for (std::uint32_t i = 0; i < kAvx512QuantKernels.matmul_count; ++i)
    if (kAvx512QuantKernels.matmul[i].weight == kType) return kAvx512QuantKernels.matmul[i].multiply(call, groups);
}

template <nacelle_type kType>
void multiply_amx(const MatmulCall& call, std::uint32_t groups) {
  static_assert(kGroupParts == 1);
  MatmulCall whole = call, rest = call;
  whole.rows = call.rows / kTile * kTile;
  if (whole.rows) {
    configure(run_shapes<kType>());
    for (std::uint32_t vector = 0; vector < groups; ++vector) amx_panels<kType>(whole, vector);
    _tile_release();
  }
  rest.rows -= whole.rows;
  rest.x += whole.rows * call.x_stride;
  rest.out += whole.rows * call.out_stride;
  if (rest.rows) multiply_rest<kType>(rest, groups);
}

template <nacelle_type kType>
constexpr MatmulVariant amx_variant(const char* name, double cost) {
  return {name,
          1,
          kType,
          Isa::kAmx,
          cost,
          "q8a-i32-f32-2",
          Activation::kInt8,
          kTile,
          1,
          Quant<kType>::kEncode,
          multiply_amx<kType>};
}

// ---- BF16: 32 columns a step, the last one perhaps fewer, and any number of rows.

// Registers 0, 1, 2 as above; 3 and 4 are 1 and 2 for what is left of the columns.
constexpr TileShapes bf16_shapes(std::uint32_t rows, std::uint32_t rest) {
  TileShapes shapes;
  shapes.set(0, rows, 64);
  shapes.set(1, rows, 64);
  shapes.set(2, kTile, 64);
  shapes.set(3, rows, rest * 4);
  shapes.set(4, rest, 64);
  return shapes;
}

inline void multiply_bf16_amx(const MatmulCall& call, std::uint32_t groups) {
  const std::uint32_t pairs = (call.columns + 1) / 2, whole = pairs / kTile * kTile, rest = pairs - whole;
  std::uint32_t shaped = 0;
  for (std::uint32_t row = 0; row < call.rows; row += kTile) {
    const std::uint32_t rows = call.rows - row < kTile ? call.rows - row : kTile;
    if (rows != shaped) {
      configure(bf16_shapes(rows, rest ? rest : 1));
      shaped = rows;
    }
    const std::uint8_t* x = call.x + row * call.x_stride;
    for (std::uint32_t group = 0; group < groups; ++group) {
      const std::uint8_t* w = call.weights + group * call.group_bytes;
      _tile_zero(0);
      for (std::uint32_t k = 0; k < whole; k += kTile) {
        _tile_loadd(1, x + k * 4, call.x_stride);
        _tile_loadd(2, w + std::uint64_t{k} * 64, 64);
        _tile_dpbf16ps(0, 1, 2);
      }
      if (rest) {
        _tile_loadd(3, x + whole * 4, call.x_stride);
        _tile_loadd(4, w + std::uint64_t{whole} * 64, 64);
        _tile_dpbf16ps(0, 3, 4);
      }
      _tile_stored(0, call.out + row * call.out_stride + group * kGroupRows, call.out_stride * sizeof(float));
    }
  }
  if (shaped) _tile_release();
}

}  // namespace
}  // namespace nacelle::cpu
