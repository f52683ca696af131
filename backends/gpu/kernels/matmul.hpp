// y = x w^T (+ bias, + residual) for any number of rows, in two classes of kernels:
//   tensor  activations as f16 or bf16 through m16n8k16 products; scales are applied to whole sub-blocks in f32
//   plain   activations and products in f32
// Within a class a row's bits are the same from every kernel: the columns are cut into slices, fixed for a weight, each
// slice is summed in the order of its tiles, and the slices are added in order. A kernel for few rows gives the slices
// to different warps; one for many rows walks them one after the other.
#pragma once

#include "backends/gpu/kernels/weights.hpp"

namespace nacelle::gpu {

// Tiles [begin, end) of a slice.
struct Slice {
  std::uint32_t begin, end;
};
SIMT_DEVICE Slice slice_of(const PackedWeights& w, std::uint32_t slice) {
  const std::uint32_t begin = slice * w.slice_tiles, end = begin + w.slice_tiles;
  return {begin, end < w.tiles ? end : w.tiles};
}

SIMT_DEVICE void write_result(const MatmulArguments& of, std::uint32_t row, std::uint32_t column, float sum) {
  if (column >= of.weights.rows) return;
  if (of.bias) sum = sum + of.bias[column];
  if (of.residual) sum = sum + of.residual[static_cast<std::uint64_t>(row) * of.residual_stride + column];
  of.out.data[static_cast<std::uint64_t>(row) * of.out.stride + column] = sum;
}

// ---- Activations for the tensor cores

// One block a row. f16 rows are divided by a power of two that brings their largest element below 2^15, so that none
// overflows and small ones keep their bits.
SIMT_KERNEL(256) encode_rows(const EncodeArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  const float* x = a.x.data + static_cast<std::uint64_t>(row) * a.x.stride;
  float factor = 1;
  if (!a.bfloat16) {
    SIMT_SHARED(float, peaks, 8);
    float peak = 0;
    for (std::uint32_t i = simt::thread(); i < a.x.width; i += simt::threads()) peak = fmaxf(peak, fabsf(x[i]));
    for (std::uint32_t mask = 16; mask; mask /= 2) peak = fmaxf(peak, simt::shuffle_xor(peak, mask));
    if (simt::lane() == 0) peaks[simt::warp()] = peak;
    simt::barrier();
    peak = peaks[0];
    for (std::uint32_t i = 1; i < simt::threads() / simt::kLanes; ++i) peak = fmaxf(peak, peaks[i]);
    const std::uint32_t exponent = simt::float_to_bits(peak) >> 23;
    if (exponent > 14 && exponent < 255) factor = simt::bits_to_float((exponent - 14) << 23);
    if (simt::thread() == 0) a.out.scales[row] = factor;
  } else if (simt::thread() == 0) {
    a.out.scales[row] = 1;
  }
  const float inverse = 1 / factor;
  std::uint16_t* to = a.out.data + static_cast<std::uint64_t>(row) * a.out.stride;
  float* sums = a.out.sums + static_cast<std::uint64_t>(row) * (a.out.stride / 16);
  for (std::uint32_t base = 0; base < a.out.stride; base += simt::threads() * 4) {
    const std::uint32_t first = base + simt::thread() * 4;
    float sum = 0;
    for (std::uint32_t i = first; i < first + 4 && i < a.out.stride; ++i) {
      const float value = i < a.x.width ? x[i] * inverse : 0.0f;
      const std::uint16_t bits = a.bfloat16 ? simt::float_to_bfloat16(value) : simt::float_to_half(value);
      to[i] = bits;
      sum = sum + (a.bfloat16 ? simt::bfloat16_to_float(bits) : simt::half_to_float(bits));
    }
    sum = sum + simt::shuffle_xor(sum, 1);
    sum = sum + simt::shuffle_xor(sum, 2);
    if (simt::lane() % 4 == 0 && first < a.out.stride) sums[first / 16] = sum;
  }
}

// ---- Tensor cores

// What a warp adds up: kPanels x kGroups tiles of 16 outputs by 8 rows.
template <std::uint32_t kPanels, std::uint32_t kGroups>
struct TensorSum {
  float of[kPanels][kGroups][4];
  SIMT_DEVICE void clear() {
    SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n)
        SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) of[m][n][i] = 0;
  }
};

// The B fragment of 8 rows and 16 columns; rows past the last are zero.
SIMT_DEVICE void load_rows(const EncodedRows& x, std::uint32_t row, std::uint32_t rows, std::uint32_t column,
                           std::uint32_t (&b)[2]) {
  Words2 words = {0, 0};
  if (row < rows)
    words = *reinterpret_cast<const Words2*>(x.data + static_cast<std::uint64_t>(row) * x.stride + column);
  b[0] = words.x;
  b[1] = words.y;
}

template <class Weights>
SIMT_DEVICE void multiply(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  if (Weights::kBfloat)
    simt::multiply_bf16(d, a, b);
  else
    simt::multiply_f16(d, a, b);
}

// A tile of a plain format.
template <class Weights, std::uint32_t kPanels, std::uint32_t kGroups>
SIMT_DEVICE void add_plain_tile(const MatmulArguments& of, std::uint32_t panel, std::uint32_t tile, std::uint32_t row,
                                std::uint32_t rows, TensorSum<kPanels, kGroups>& sum) {
  std::uint32_t b[kGroups][2];
  SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n)
      load_rows(of.encoded, row + n * 8, rows, tile * 16 + simt::lane() % 4 * 4, b[n]);
  SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) {
    typename Weights::Fragment w;
    std::uint32_t a[4];
    Weights::load(of.weights, panel + m, tile, w);
    Weights::pairs(w, 0, a);
    SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n) multiply<Weights>(sum.of[m][n], a, b[n]);
  }
}

// Adds scale * products - min * sum of the activations, for the two rows and two outputs that a lane holds.
template <class Weights>
SIMT_DEVICE void add_scaled(const typename Weights::Scale (&scales)[2], const float (&products)[4],
                            const float (&sums)[2], float (&to)[4]) {
  SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) {
    to[i] = fmaf(scales[i / 2].scale, products[i], to[i]);
    if (Weights::kMin) to[i] = fmaf(-scales[i / 2].min, sums[i % 2], to[i]);
  }
}

// A tile of a block format: 32 columns under one scale, or twice 16.
template <class Weights, std::uint32_t kPanels, std::uint32_t kGroups>
SIMT_DEVICE void add_block_tile(const MatmulArguments& of, std::uint32_t panel, std::uint32_t tile, std::uint32_t row,
                                std::uint32_t rows, TensorSum<kPanels, kGroups>& sum) {
  constexpr std::uint32_t kSubs = 32 / Weights::kSubColumns;
  const std::uint32_t g = simt::lane() / 4, t = simt::lane() % 4, sum_stride = of.encoded.stride / 16;
  typename Weights::Fragment w[kPanels];
  SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) Weights::load(of.weights, panel + m, tile, w[m]);
  SIMT_UNROLL for (std::uint32_t sub = 0; sub < kSubs; ++sub) {
    typename Weights::Scale scales[kPanels][2];
    SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) {
      scales[m][0] = Weights::scale(of.weights, panel + m, tile, sub, g);
      scales[m][1] = Weights::scale(of.weights, panel + m, tile, sub, g + 8);
    }
    SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n) {
      float sums[2] = {0, 0};
      if (Weights::kMin) SIMT_UNROLL for (std::uint32_t i = 0; i < 2; ++i) {
          const std::uint32_t at = row + n * 8 + 2 * t + i;
          const float* from = of.encoded.sums + static_cast<std::uint64_t>(at < rows ? at : rows - 1) * sum_stride;
          sums[i] = kSubs == 2 ? from[tile * 2 + sub] : from[tile * 2] + from[tile * 2 + 1];
        }
      std::uint32_t b[2][2];
      SIMT_UNROLL for (std::uint32_t half = sub; half < 2; half += kSubs)
          load_rows(of.encoded, row + n * 8 + g, rows, tile * 32 + half * 16 + t * 4, b[half]);
      SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) {
        float products[4] = {0, 0, 0, 0};
        SIMT_UNROLL for (std::uint32_t half = sub; half < 2; half += kSubs) {
          std::uint32_t a[4];
          Weights::pairs(w[m], half, a);
          multiply<Weights>(products, a, b[half]);
        }
        add_scaled<Weights>(scales[m], products, sums, sum.of[m][n]);
      }
    }
  }
}

template <class Weights, std::uint32_t kPanels, std::uint32_t kGroups>
SIMT_DEVICE void add_slice(const MatmulArguments& of, std::uint32_t panel, Slice slice, std::uint32_t row,
                           std::uint32_t rows, TensorSum<kPanels, kGroups>& sum) {
  for (std::uint32_t tile = slice.begin; tile < slice.end; ++tile)
    if constexpr (Weights::kBlocks)
      add_block_tile<Weights>(of, panel, tile, row, rows, sum);
    else
      add_plain_tile<Weights>(of, panel, tile, row + simt::lane() / 4, rows, sum);
}

// Few rows. Grid: panels, groups of 8 rows; a warp a slice.
template <class Weights>
SIMT_KERNEL(256)
matmul_tensor_few(const MatmulArguments a) {
  const std::uint32_t rows = *a.count, row = simt::block_y() * 8, panel = simt::block_x();
  if (row >= rows) return;
  TensorSum<1, 1> sum;
  sum.clear();
  add_slice<Weights>(a, panel, slice_of(a.weights, simt::warp()), row, rows, sum);
  SIMT_SHARED(float, parts, 8 * 128);  // [slice][row][output]
  const std::uint32_t g = simt::lane() / 4, t = simt::lane() % 4;
  SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) parts[simt::warp() * 128 + (2 * t + i % 2) * 16 + g + i / 2 * 8] =
      sum.of[0][0][i];
  simt::barrier();
  for (std::uint32_t i = simt::thread(); i < 128; i += simt::threads()) {
    const std::uint32_t to = row + i / 16;
    if (to >= rows) continue;
    float total = 0;
    for (std::uint32_t slice = 0; slice < a.weights.slices; ++slice) total = total + parts[slice * 128 + i];
    write_result(a, to, panel * kPanel + i % 16, total * a.encoded.scales[to]);
  }
}

// Many rows. Grid: groups of 4 x kPanels panels, groups of kGroups x 8 rows; a warp walks all slices of its panels. The
// warps of a block share their rows, which therefore come from the first-level cache.
template <class Weights, std::uint32_t kPanels, std::uint32_t kGroups>
SIMT_KERNEL(128)
matmul_tensor_many(const MatmulArguments a) {
  const std::uint32_t rows = *a.count, row = simt::block_y() * kGroups * 8;
  const std::uint32_t panel = (simt::block_x() * 4 + simt::warp()) * kPanels;
  if (row >= rows || panel >= a.weights.panels) return;  // panels come in multiples of kPanels: see packing
  TensorSum<kPanels, kGroups> total, sum;
  total.clear();
  for (std::uint32_t slice = 0; slice < a.weights.slices; ++slice) {
    sum.clear();
    add_slice<Weights>(a, panel, slice_of(a.weights, slice), row, rows, sum);
    SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n)
        SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) total.of[m][n][i] = total.of[m][n][i] + sum.of[m][n][i];
  }
  const std::uint32_t g = simt::lane() / 4, t = simt::lane() % 4;
  SIMT_UNROLL for (std::uint32_t m = 0; m < kPanels; ++m) SIMT_UNROLL for (std::uint32_t n = 0; n < kGroups; ++n)
      SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) {
    const std::uint32_t to = row + n * 8 + 2 * t + i % 2;
    if (to < rows) write_result(a, to, (panel + m) * kPanel + g + i / 2 * 8, total.of[m][n][i] * a.encoded.scales[to]);
  }
}

// ---- Plain

// Four activations of a row, zero past its width. Rows start on 16 bytes, an expert's slice of one anywhere.
SIMT_DEVICE void load_activations(const Rows& x, std::uint32_t row, std::uint32_t column, float (&to)[4]) {
  const float* from = x.data + static_cast<std::uint64_t>(row) * x.stride + column;
  if (column + 4 <= x.width && (reinterpret_cast<std::uintptr_t>(from) & 15) == 0) {
    const Words4 words = *reinterpret_cast<const Words4*>(from);
    to[0] = simt::bits_to_float(words.x);
    to[1] = simt::bits_to_float(words.y);
    to[2] = simt::bits_to_float(words.z);
    to[3] = simt::bits_to_float(words.w);
  } else {
    SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) to[i] = column + i < x.width ? from[i] : 0.0f;
  }
}

// The 8 weights that a lane holds of 16 columns, as f32.
template <class Weights>
SIMT_DEVICE void widen(const PackedWeights& w, const typename Weights::Fragment& from, std::uint32_t panel,
                       std::uint32_t tile, std::uint32_t half, float (&to)[8]) {
  if constexpr (Weights::kBlocks) {
    SIMT_UNROLL for (std::uint32_t lower = 0; lower < 2; ++lower) {
      const auto of = Weights::scale(w, panel, tile, half, simt::lane() / 4 + lower * 8);
      SIMT_UNROLL for (std::uint32_t i = lower * 4; i < lower * 4 + 4; ++i) to[i] =
          fmaf(of.scale, Weights::value(from, half, i), -of.min);
    }
  } else {
    SIMT_UNROLL for (std::uint32_t i = 0; i < 8; ++i) to[i] = Weights::value(from, half, i);
  }
}

// Grid: panels, groups of kRows rows; a warp a slice. A lane adds up two outputs over a quarter of the columns; the
// quarters meet in two shuffles. `columns` of x may start anywhere in its rows: see MoE.
template <class Weights, std::uint32_t kRows>
SIMT_DEVICE void sum_plain_slice(const PackedWeights& w, std::uint32_t panel, Slice slice, const Rows& x,
                                 std::uint32_t row, std::uint32_t rows, float (&sums)[kRows][2]) {
  SIMT_UNROLL for (std::uint32_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = 0;
  for (std::uint32_t tile = slice.begin; tile < slice.end; ++tile) {
    typename Weights::Fragment fragment;
    Weights::load(w, panel, tile, fragment);
    SIMT_UNROLL for (std::uint32_t half = 0; half < Weights::kColumns / 16; ++half) {
      float values[8];
      widen<Weights>(w, fragment, panel, tile, half, values);
      const std::uint32_t column = tile * Weights::kColumns + half * 16 + simt::lane() % 4 * 4;
      SIMT_UNROLL for (std::uint32_t r = 0; r < kRows; ++r) {
        float activations[4];
        load_activations(x, row + r < rows ? row + r : rows - 1, column, activations);
        SIMT_UNROLL for (std::uint32_t i = 0; i < 8; ++i) sums[r][i / 4] =
            fmaf(values[i], activations[i % 4], sums[r][i / 4]);
      }
    }
  }
  SIMT_UNROLL for (std::uint32_t r = 0; r < kRows; ++r) SIMT_UNROLL for (std::uint32_t i = 0; i < 2; ++i) {
    sums[r][i] = sums[r][i] + simt::shuffle_xor(sums[r][i], 1);
    sums[r][i] = sums[r][i] + simt::shuffle_xor(sums[r][i], 2);
  }
}

template <class Weights, std::uint32_t kRows>
SIMT_KERNEL(256)
matmul_plain(const MatmulArguments a) {
  const std::uint32_t rows = *a.count, row = simt::block_y() * kRows, panel = simt::block_x();
  if (row >= rows) return;
  float sums[kRows][2];
  sum_plain_slice<Weights, kRows>(a.weights, panel, slice_of(a.weights, simt::warp()), a.x, row, rows, sums);
  SIMT_SHARED(float, parts, 8 * kRows * 16);  // [slice][row][output]
  if (simt::lane() % 4 == 0)
    SIMT_UNROLL for (std::uint32_t r = 0; r < kRows; ++r) SIMT_UNROLL for (std::uint32_t i = 0; i < 2; ++i)
        parts[(simt::warp() * kRows + r) * 16 + simt::lane() / 4 + i * 8] = sums[r][i];
  simt::barrier();
  for (std::uint32_t i = simt::thread(); i < kRows * 16; i += simt::threads()) {
    if (row + i / 16 >= rows) continue;
    float total = 0;
    for (std::uint32_t slice = 0; slice < a.weights.slices; ++slice) total = total + parts[slice * kRows * 16 + i];
    write_result(a, row + i / 16, panel * kPanel + i % 16, total);
  }
}

// ---- What a vendor's library needs around its product

// Grid: panels, groups of 8 tiles; a warp a tile.
template <class Weights>
SIMT_KERNEL(256)
unpack(const UnpackArguments a) {
  const std::uint32_t panel = simt::block_x(), tile = simt::block_y() * 8 + simt::warp();
  if (tile >= a.weights.tiles) return;
  typename Weights::Fragment fragment;
  Weights::load(a.weights, panel, tile, fragment);
  const std::uint32_t g = simt::lane() / 4, t = simt::lane() % 4;
  SIMT_UNROLL for (std::uint32_t half = 0; half < Weights::kColumns / 16; ++half) {
    float values[8];
    widen<Weights>(a.weights, fragment, panel, tile, half, values);
    SIMT_UNROLL for (std::uint32_t i = 0; i < 8; ++i) {
      const std::uint32_t row = panel * kPanel + g + i / 4 * 8,
                          column = tile * Weights::kColumns + half * 16 + t * 4 + i % 4;
      a.out[static_cast<std::uint64_t>(row) * a.stride + column] =
          Weights::kBfloat ? simt::float_to_bfloat16(values[i]) : simt::float_to_half(values[i]);
    }
  }
}

// Grid: groups of 256 outputs, rows. What the library leaves to do, in place.
SIMT_KERNEL(256) matmul_finish(const MatmulArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * 256 + simt::thread();
  if (row >= *a.count || column >= a.weights.rows) return;
  const float product = a.out.data[static_cast<std::uint64_t>(row) * a.out.stride + column];
  write_result(a, row, column, product * a.encoded.scales[row]);
}

}  // namespace nacelle::gpu
