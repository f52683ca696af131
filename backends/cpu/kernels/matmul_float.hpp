// Matmul by F32, F16 and BF16 weights with f32 activations, written once over the vector vocabulary: one fused
// multiply-add a column, in column order. Include after a simd_*.hpp of one ISA.
//
// Packed group: F32 and F16 [K][16 rows]; BF16 [K / 2][16 rows][2], an odd K padded with zeros.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/hints.hpp"
#include "backends/cpu/kernels/kernels.hpp"
#include "backends/cpu/kernels/simd_math.hpp"

namespace nacelle::cpu {
namespace {

constexpr int kGroupVectors = static_cast<int>(kGroupRows) / kLanes;

struct F32Weights {
  static constexpr std::uint32_t kBytes = 64;  // of one column of a group
  static F load_column(const std::uint8_t* p, int v) { return load(reinterpret_cast<const float*>(p) + v * kLanes); }
};
struct F16Weights {
  static constexpr std::uint32_t kBytes = 32;
  static F load_column(const std::uint8_t* p, int v) {
    return load_f16(reinterpret_cast<const std::uint16_t*>(p) + v * kLanes);
  }
};

template <int kRows, int kVectors>
inline void multiply_column(const F (&w)[kVectors], const float* const (&x)[kRows], std::uint32_t k,
                            F (&sums)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const F value = set(x[r][k]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(w[v], value, sums[r][v]);
  }
}

template <class Weights, int kRows, int kVectors>
inline void accumulate(const std::uint8_t* const (&w)[kVectors], const float* const (&x)[kRows], std::uint32_t columns,
                       F (&sums)[kRows][kVectors]) {
  for (std::uint32_t k = 0; k < columns; ++k) {
    F weights[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      weights[v] = Weights::load_column(w[v] + std::uint64_t{k} * Weights::kBytes, v % kGroupVectors);
    multiply_column<kRows, kVectors>(weights, x, k, sums);
  }
}

struct Bf16Weights {};

template <class Weights, int kRows, int kVectors>
requires __is_same(Weights, Bf16Weights) inline void accumulate(const std::uint8_t* const (&w)[kVectors],
                                                                const float* const (&x)[kRows], std::uint32_t columns,
                                                                F (&sums)[kRows][kVectors]) {
  for (std::uint32_t k = 0; k < columns; k += 2) {
    F even[kVectors], odd[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      load_bf16_pairs(w[v] + std::uint64_t{k} * 32 + v % kGroupVectors * kLanes * 4, even[v], odd[v]);
    multiply_column<kRows, kVectors>(even, x, k, sums);
    if (k + 1 < columns) multiply_column<kRows, kVectors>(odd, x, k + 1, sums);
  }
}

// kRows rows times kGroups groups.
template <class Weights, int kRows, int kGroups>
inline void float_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  constexpr int kVectors = kGroups * kGroupVectors;
  const float* x[kRows];
  const std::uint8_t* w[kVectors];
  float* out = call.out + row * call.out_stride + group * kGroupRows;
  if constexpr (kRows > 1) claim_tile<kRows, kVectors, F>(out, call.out_stride, kRows);
  F sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) x[r] = reinterpret_cast<const float*>(call.x + (row + r) * call.x_stride);
  for (int v = 0; v < kVectors; ++v) w[v] = call.weights + (group + v / kGroupVectors) * call.group_bytes;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = zero();
  accumulate<Weights, kRows, kVectors>(w, x, call.columns, sums);
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(out + r * call.out_stride + v * kLanes, sums[r][v]);
}

// As many accumulators as the register file holds beside the weights and one activation.
constexpr int kFloatGroups = kLanes == 16 ? 3 : 1;
constexpr int kFloatRows = kLanes == 16 ? 8 : kLanes == 4 && kRegisters == 16 ? 2 : 6;
// A lone row has too few accumulators to hide the latency of an addition: it takes more groups at once.
constexpr int kLoneGroups = kLanes == 16 ? 8 : kLanes == 8 ? 4 : kRegisters / 8;

// Rows in tiles of kRows, then what is left.
template <class Weights, int kRows, int kGroups>
inline void float_rows(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  for (; row + kRows <= call.rows; row += kRows) float_tile<Weights, kRows, kGroups>(call, row, group);
  if constexpr (kRows > 1)
    if (row < call.rows) float_rows<Weights, kRows - 1, kGroups>(call, row, group);
}

template <class Weights>
void multiply_float(const MatmulCall& call, std::uint32_t groups) {
  std::uint32_t group = 0;
  if (call.rows == 1)
    for (; group + kLoneGroups <= groups; group += kLoneGroups) float_tile<Weights, 1, kLoneGroups>(call, 0, group);
  for (; group + kFloatGroups <= groups; group += kFloatGroups)
    float_rows<Weights, kFloatRows, kFloatGroups>(call, 0, group);
  if constexpr (kFloatGroups == 3)
    for (; group + 2 <= groups; group += 2) float_rows<Weights, kFloatRows, 2>(call, 0, group);
  for (; group < groups; ++group) float_rows<Weights, kFloatRows, 1>(call, 0, group);
}

}  // namespace
}  // namespace nacelle::cpu
