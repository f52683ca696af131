// A lone row's products by block formats whose weights are read past the caches. Include after matmul_quant.hpp, and
// after an ints_*.hpp that has load_once.
//
// On AMD's cores a non-temporal load of ordinary memory fetches ahead by itself and leaves L2 and L3 to what is used
// again. Measured on Zen 4, one thread, from memory: Q4_0 27 to 31 GB/s, Q8_0 25 to 30, Q4_K 23 to 27.
#pragma once

#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// What the row of x and the weights of 16 rows together leave L1 of 32 KB for: x of up to so many columns is still
// there when the next 16 begin.
constexpr std::uint32_t kShortRow = 2048;

// A longer x misses L1, and what misses waits behind all lines of weights that are under way: a tenth to a quarter
// slower, if it is not asked for before.
template <nacelle_type kType, bool kLong>
struct StreamedBlocks : PackedBlocks<kType, 1> {
  using Q = Quant<kType>;
  static constexpr int kLines = Q::kLayout.code_bytes / 64;
  // The processor does not follow the scales of halves between the codes by itself, nor those of any K-quant where it
  // also fetches x: hints that pass L2 do, with plain loads.
  static constexpr bool kHints = Q::kHalves || (kLong && Q::kFormat.integer_scales && !Q::kLayout.has_codebook);
  static constexpr bool kFetchesX = kLong || kHints;
  // All codes of a block are loaded before the first is used, in the order of memory, but where they are too many.
  static constexpr bool kAtOnce = !kHints && kLines < 8;
  mutable I lines[kAtOnce ? kLines : 1];

  using PackedBlocks<kType, 1>::PackedBlocks;

  [[gnu::always_inline]] void begin_block([[maybe_unused]] std::uint32_t b) const {
    if constexpr (kHints) this->template hint<Cache::kPast>(b);
    if constexpr (kAtOnce) {
#pragma GCC unroll 8
      for (int i = 0; i < kLines; ++i) lines[i] = load_once(this->codes(0, b) + i * 64);
    }
  }
  template <int quad>
  [[gnu::always_inline]] I values(std::uint32_t b, int v) const {
    [[maybe_unused]] const std::uint8_t* at = this->codes(v, b);
    return Q::template values<quad>([&](int i) __attribute__((always_inline)) {
      if constexpr (kAtOnce)
        return lines[i];
      else if constexpr (kHints)
        return load_i(at + i * 64);
      else
        return load_once(at + i * 64);
    });
  }
};

template <nacelle_type kType, int kRows, int kVectors>
void multiply_streamed(const MatmulCall& call, std::uint32_t groups) {
  static_assert(kGroupParts == 1);
  if (call.rows != 1) return multiply_quant<kType, kRows, kVectors, 1>(call, groups);
  const auto tile = call.columns > kShortRow ? quant_tile<kType, 1, 1, StreamedBlocks<kType, true>>
                                             : quant_tile<kType, 1, 1, StreamedBlocks<kType, false>>;
  for (std::uint32_t vector = 0; vector < groups; ++vector) tile(call, 0, 1, vector);
}

// A row of a table of variants, for what the one of the same tile is slower at. `cost`: that one's.
template <nacelle_type kType, int kRows, int kVectors>
constexpr MatmulVariant streamed_variant(const char* name, Isa isa, double cost, double lone_cost = 0) {
  MatmulVariant variant = quant_variant<kType, kRows, kVectors, 1>(name, isa, cost, lone_cost);
  variant.multiply = multiply_streamed<kType, kRows, kVectors>;
  variant.lone_row = LoneRow::kStreamed;
  return variant;
}

}  // namespace
}  // namespace nacelle::cpu
