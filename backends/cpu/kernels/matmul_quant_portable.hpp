// Matmul by Q8_0 and Q4_0 weights in plain C++: the packing and the order of matmul_quant_avx512.hpp, in loops that a
// compiler can turn into whatever the target has.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/encode.hpp"

namespace nacelle::cpu {
namespace {

// dots[r] += the products of one quad of columns with the 16 weight rows' quads.
inline void add_quad(const std::uint8_t* w, const std::int8_t* x, std::int32_t (&dots)[kGroupRows]) {
  for (std::uint32_t r = 0; r < kGroupRows; ++r)
    dots[r] += w[4 * r] * x[0] + w[4 * r + 1] * x[1] + w[4 * r + 2] * x[2] + w[4 * r + 3] * x[3];
}

struct Q8Block {
  static constexpr std::uint32_t kBytes = 512;
  static void dot(const std::uint8_t* w, const std::int8_t* x, std::int32_t (&dots)[kGroupRows]) {
    for (std::uint32_t step = 0; step < 8; ++step) add_quad(w + step * 64, x + step * 4, dots);
  }
};
struct Q4Block {
  static constexpr std::uint32_t kBytes = 256;
  static void dot(const std::uint8_t* w, const std::int8_t* x, std::int32_t (&dots)[kGroupRows]) {
    for (std::uint32_t step = 0; step < 4; ++step) {
      std::uint8_t low[64], high[64];
      for (std::uint32_t i = 0; i < 64; ++i) {
        low[i] = w[step * 64 + i] & 15;
        high[i] = w[step * 64 + i] >> 4;
      }
      add_quad(low, x + step * 4, dots);
      add_quad(high, x + step * 4 + 16, dots);
    }
  }
};

template <class Block>
inline void quant_tile(const MatmulCall& call, std::uint32_t row, std::uint32_t group) {
  const std::uint32_t blocks = call.columns / kQuantBlock;
  const std::uint8_t* w = call.weights + group * call.group_bytes;
  const auto* w_scales = reinterpret_cast<const std::uint16_t*>(w + std::uint64_t{blocks} * Block::kBytes);
  const std::uint8_t* x = call.x + row * call.x_stride;
  const auto* x_scales = reinterpret_cast<const float*>(x + call.columns);
  const auto* x_starts = reinterpret_cast<const std::int32_t*>(x_scales + blocks);
  float* out = call.out + row * call.out_stride + group * kGroupRows;
  for (std::uint32_t i = 0; i < kGroupRows; i += kLanes) store(out + i, zero());
  for (std::uint32_t b = 0; b < blocks; ++b) {
    std::int32_t dots[kGroupRows];
    for (std::int32_t& dot : dots) dot = x_starts[b];
    Block::dot(w + b * Block::kBytes, reinterpret_cast<const std::int8_t*>(x) + b * kQuantBlock, dots);
    for (std::uint32_t i = 0; i < kGroupRows; i += kLanes) {
      I whole;
      __builtin_memcpy(&whole, dots + i, sizeof whole);
      const F scale = mul(load_f16(w_scales + b * kGroupRows + i), set(x_scales[b]));
      store(out + i, fma(__builtin_convertvector(whole, F), scale, load(out + i)));
    }
  }
}

template <class Block>
void multiply_quant(const MatmulCall& call, std::uint32_t groups) {
  for (std::uint32_t group = 0; group < groups; ++group)
    for (std::uint32_t row = 0; row < call.rows; ++row) quant_tile<Block>(call, row, group);
}

}  // namespace
}  // namespace nacelle::cpu
