// The ceilings of AMX's tiles, int8 and BF16. Everything else of this level is the AVX-512 units'.
#include <immintrin.h>

#include "backends/cpu/ceilings_loop.hpp"
#include "backends/cpu/kernels/tiles_amx.hpp"

namespace nacelle::cpu {
namespace {

constexpr TileShapes whole_tiles() {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) shapes.set(tile, kTile, 64);
  return shapes;
}

struct Int8 {
  static constexpr std::uint32_t kMultiplies = kTile * kTile * 64;
  // Four products from registers, each into sums of its own.
  static void step() {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
};
struct Bf16 {
  static constexpr std::uint32_t kMultiplies = kTile * kTile * 32;
  static void step() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

template <class Step>
std::uint64_t run_tiles(std::uint64_t rounds) {
  configure(whole_tiles());
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::uint64_t round = 0; round < rounds; ++round) Step::step();
  alignas(64) std::uint64_t sums[kTile][8];
  _tile_stored(0, sums, 64);
  _tile_release();
  settle_memory(sums);
  return sums[0][0];
}

template <class Step>
constexpr CeilingLoop loop_of_tiles() {
  return {run_tiles<Step>, 2 * 4 * Step::kMultiplies};
}

}  // namespace

const CeilingKernels kAmxCeilings = {Isa::kAmx, loop_of_tiles<Int8>(), loop_of_tiles<Bf16>(), {}, nullptr};

}  // namespace nacelle::cpu
