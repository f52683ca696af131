// The operations that carry a state along each sequence, written once over the vector vocabulary: the linear recurrence
// of STATE_SCAN and the causal CONVOLUTION. Lanes are columns of the state, so that a column's sums run over its rows
// in their order, however the columns are tiled. Include after elementwise.hpp.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/hints.hpp"

namespace nacelle::cpu {
namespace {

// ---- The recurrence -------------------------------------------------------------------------------------------------

inline F keep_nan(F x, F y) { return choose(at_least(x, x), y, x); }

// log(1 + e^x). With u = e^-|x|, log(1 + u) = 2 artanh(z), z = u / (2 + u) <= 1/3: the series' next term would be below
// 2e-9 of the sum.
inline F softplus(F x) {
  const F u = exp(sub(zero(), abs(x)));
  const F z = div(u, add(u, set(2.0f))), square = mul(z, z);
  F p = set(2.0f / 15);
#pragma GCC unroll 8
  for (int term = 13; term > 1; term -= 2) p = fma(p, square, set(2.0f / static_cast<float>(term)));
  return keep_nan(x, add(max(x, zero()), fma(mul(p, square), z, add(z, z))));
}

void scan_steps(const float* step, const float* bias, const float* rate, bool one_rate, std::uint32_t n, float* steps,
                float* decays) {
  for_vectors(n, [&](std::uint32_t i, std::uint32_t count) {
    F x = load_some(step + i, count);
    if (bias) x = add(x, load_some(bias + i, count));
    const F width = softplus(x);
    const F power = mul(width, one_rate ? set(*rate) : load_some(rate + i, count));
    store_some(steps + i, width, count);
    store_some(decays + i, keep_nan(power, exp(power)), count);
  });
}

// ---- Few rows of a sequence: a stream through the state for each

constexpr std::uint32_t kStripColumns = 256;

// Takes the rows of the state one by one as they lie, all columns of a piece at once: any other order hides the stream
// from the processor, and costs up to half of the memory's speed. kTile vectors of columns, whose sums stay in
// registers where there are as many, or, where that is 0, `count` of them, at most kStripColumns.
template <bool kDelta, int kTile>
class ScanStrip {
 public:
  ScanStrip(const ScanCall& of, std::uint32_t column, std::uint32_t count) : of_(of), column_(column), count_(count) {}

  void run() {
    const float* v = of_.v + column_;
    const F strength = set(*of_.strengths), skip = set(of_.skip), scale = set(of_.scale);
    F sums[kVectors], change[kVectors];
    const auto clear = [&] { for_columns([&](std::uint32_t t, std::uint32_t) { sums[t] = zero(); }); };
    clear();
    if constexpr (kDelta) recall(sums);
    for_columns([&](std::uint32_t t, std::uint32_t count) {
      const F value = load_some(v + t * kLanes, count);
      change[t] = mul(strength, kDelta ? sub(value, sums[t]) : value);
    });
    clear();
    update(change, sums);
    for_columns([&](std::uint32_t t, std::uint32_t count) {
      const F y = fma(load_some(v + t * kLanes, count), skip, mul(scale, sums[t]));
      store_some(of_.out + column_ + t * kLanes, y, count);
    });
  }

 private:
  static constexpr int kVectors = kTile ? kTile : kStripColumns / kLanes;

  // body(vector, columns of it)
  template <class Body>
  [[gnu::always_inline]] inline void for_columns(Body body) const {
    if constexpr (kTile != 0) {
#pragma GCC unroll 32
      for (int t = 0; t < kTile; ++t) body(static_cast<std::uint32_t>(t), static_cast<std::uint32_t>(kLanes));
    } else {
      for_vectors(count_, [&](std::uint32_t i, std::uint32_t count) { body(i / kLanes, count); });
    }
  }
  [[gnu::always_inline]] inline void fetch(const float* row) const {
    const auto* line = reinterpret_cast<const std::uint8_t*>(row);
    const std::uint64_t bytes = kTile ? kTile * sizeof(F) : count_ * sizeof(float);
#pragma GCC unroll 8
    for (std::uint64_t at = 0; at < bytes; at += 64) prefetch<Cache::kL2>(line + at);
  }

  // The second half of the state is fetched over the first one, and the first half of the next state over the update,
  // which finds this one in L2: memory is never idle.
  void recall(F (&sums)[kVectors]) const {
    const float* row = of_.state + column_;
    const std::uint32_t half = of_.key_width / 2;
    for (std::uint32_t d = 0; d < of_.key_width; ++d, row += of_.state_stride) {
      if (d < half) fetch(row + half * of_.state_stride);
      const F key = set(of_.decays[d * of_.decay_step] * of_.k[d]);
      for_columns([&](std::uint32_t t, std::uint32_t count) {
        sums[t] = fma(load_some(row + t * kLanes, count), key, sums[t]);
      });
    }
  }

  void update(const F (&change)[kVectors], F (&sums)[kVectors]) const {
    float* row = of_.state + column_;
    for (std::uint32_t d = 0; d < of_.key_width; ++d, row += of_.state_stride) {
      if constexpr (kDelta) {
        if (of_.next && d % 2 == 0) fetch(of_.next + column_ + d / 2 * of_.state_stride);
      } else if constexpr (kLanes == 16) {  // narrower ones leave the processor time to do that by itself
        fetch(row + kFloatsAhead);
      }
      const F key = set(of_.k[d]), query = set(of_.q[d]), left = set(of_.decays[d * of_.decay_step]);
      for_columns([&](std::uint32_t t, std::uint32_t count) {
        const F s = fma(key, change[t], mul(load_some(row + t * kLanes, count), left));
        store_some(row + t * kLanes, s, count);
        sums[t] = fma(s, query, sums[t]);
      });
    }
  }

  static constexpr std::uint64_t kFloatsAhead = 256;

  const ScanCall& of_;
  const std::uint32_t column_, count_;
};

template <bool kDelta>
void scan_row(const ScanCall& of) {
  if (of.columns == 64) return ScanStrip<kDelta, 64 / kLanes>(of, 0, 64).run();
  if (of.columns == 128) return ScanStrip<kDelta, 128 / kLanes>(of, 0, 128).run();
  for (std::uint32_t column = 0; column < of.columns; column += kStripColumns) {
    const std::uint32_t left = of.columns - column;
    ScanStrip<kDelta, 0>(of, column, left < kStripColumns ? left : kStripColumns).run();
  }
}

// So few rows are faster one by one: after the first the state comes from L2, and tiles would take it from memory in
// narrow columns.
constexpr std::uint32_t kStreamedRows = 8;

template <bool kDelta>
void stream_rows(const ScanCall& of) {
  for (std::uint32_t r = 0; r < of.rows; ++r) {
    ScanCall row = of;
    row.rows = 1;
    row.q += r * of.q_stride;
    row.k += r * of.k_stride;
    row.v += r * of.v_stride;
    row.decays += r * of.decay_stride;
    row.strengths += r * of.strength_stride;
    row.out += r * of.out_stride;
    row.next = r + 1 == of.rows ? of.next : nullptr;
    scan_row<kDelta>(row);
  }
}

// ---- Many rows: tiles of columns that stay in L1

// What a tile of kTile vectors of columns does; of the last vector `count` columns are there. A tile reads and writes
// the state once a row of the sequence: what the next row's key recalls is summed up while the state is at hand.
// Between the first and the last row the tile lies in the scratch, without gaps: rows of a state are often a power of
// two apart, and then share few sets of L1.
template <bool kDelta, int kTile, bool kPart>
class ScanTile {
 public:
  ScanTile(const ScanCall& of, std::uint32_t column, std::uint32_t count)
      : of_(of), state_{of.state + column, of.state_stride}, column_(column), count_(count) {}

  void run() {
    const Tile kept{of_.scratch + padded(of_.key_width), kTile * kLanes};
    const std::uint32_t last = of_.rows - 1;
    if constexpr (kDelta) {
      weigh_keys(0);
      recall();
    }
    for (std::uint32_t r = 0; r <= last; ++r) {
      const Tile from = r == 0 ? state_ : kept, to = r == last ? state_ : kept;
      start(r);
      if (kDelta && r != last) {
        weigh_keys(r + 1);
        update<kDelta>(r, from, to);
      } else {
        update<false>(r, from, to);
      }
      finish(r);
    }
  }

 private:
  struct Tile {
    float* rows;
    std::uint64_t stride;
  };

  F get(const float* p) const { return kPart ? load_first(p, count_) : load(p); }
  void put(float* p, F x) const {
    if constexpr (kPart)
      store_first(p, x, count_);
    else
      store(p, x);
  }

  // The key of row r, times what is left of each row of the state then: what the state gives for it before it decays.
  void weigh_keys(std::uint32_t r) const {
    const float *k = of_.k + r * of_.k_stride, *decay = of_.decays + r * of_.decay_stride;
    for_vectors(of_.key_width, [&](std::uint32_t i, std::uint32_t count) {
      const F left = of_.decay_step ? load_some(decay + i, count) : set(*decay);
      store_some(of_.scratch + i, mul(left, load_some(k + i, count)), count);
    });
  }

  void recall() {
    F sums[kTile];
    for (F& sum : sums) sum = zero();
    const float *row = state_.rows, *keys = of_.scratch;
    const std::uint32_t width = of_.key_width;
    const std::uint64_t stride = state_.stride;
    for (std::uint32_t d = 0; d < width; ++d, row += stride) {
      const F key = set(keys[d]);
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) sums[t] = fma(get(row + t * kLanes), key, sums[t]);
    }
    for (int t = 0; t < kTile; ++t) known_[t] = sums[t];
  }

  void start(std::uint32_t r) {
    const float* v = of_.v + r * of_.v_stride + column_;
    const F strength = set(of_.strengths[r * of_.strength_stride]);
    for (int t = 0; t < kTile; ++t) {
      const F value = get(v + t * kLanes);
      change_[t] = mul(strength, kDelta ? sub(value, known_[t]) : value);
    }
  }

  template <bool kNext>
  void update(std::uint32_t r, Tile from, Tile to) {
    const float *q = of_.q + r * of_.q_stride, *k = of_.k + r * of_.k_stride, *keys = of_.scratch;
    const float* decay = of_.decays + r * of_.decay_stride;
    const std::uint32_t width = of_.key_width, decay_step = of_.decay_step;
    F change[kTile], sums[kTile], known[kTile];
    for (int t = 0; t < kTile; ++t) {
      change[t] = change_[t];
      sums[t] = known[t] = zero();
    }
    for (std::uint32_t d = 0; d < width; ++d, from.rows += from.stride, to.rows += to.stride, decay += decay_step) {
      const F left = set(*decay), key = set(k[d]), query = set(q[d]);
      const F next = kNext ? set(keys[d]) : zero();
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) {
        const F s = fma(key, change[t], mul(get(from.rows + t * kLanes), left));
        put(to.rows + t * kLanes, s);
        sums[t] = fma(s, query, sums[t]);
        if constexpr (kNext) known[t] = fma(s, next, known[t]);
      }
    }
    for (int t = 0; t < kTile; ++t) {
      sums_[t] = sums[t];
      known_[t] = known[t];
    }
  }

  void finish(std::uint32_t r) const {
    const float* v = of_.v + r * of_.v_stride + column_;
    float* y = of_.out + r * of_.out_stride + column_;
    for (int t = 0; t < kTile; ++t)
      put(y + t * kLanes, fma(get(v + t * kLanes), set(of_.skip), mul(set(of_.scale), sums_[t])));
  }

  const ScanCall& of_;
  const Tile state_;
  const std::uint32_t column_, count_;
  F known_[kTile], change_[kTile], sums_[kTile];
};

// Columns from `column` on, as long as a whole tile is left; returns the first that is left over.
template <bool kDelta, int kTile>
std::uint32_t scan_tiles(const ScanCall& of, std::uint32_t column) {
  const bool stays = kTile == 1 || std::uint64_t{of.key_width} * kTile * kLanes <= kScanTileFloats;
  if (stays)
    for (; column + kTile * kLanes <= of.columns; column += kTile * kLanes)
      ScanTile<kDelta, kTile, false>(of, column, kLanes).run();
  return column;
}

template <bool kDelta>
void scan_columns(const ScanCall& of) {
  std::uint32_t column = 0;
  if (of.rows <= kStreamedRows) return stream_rows<kDelta>(of);
  // Of 16 registers the sums, the changes and what is recalled leave no room for more.
  if constexpr (!kDelta || kRegisters > 16) column = scan_tiles<kDelta, 4>(of, column);
  column = scan_tiles<kDelta, 2>(of, column);
  column = scan_tiles<kDelta, 1>(of, column);
  if (column < of.columns) ScanTile<kDelta, 1, true>(of, column, of.columns - column).run();
}

void scan(const ScanCall& of) { of.rule == NACELLE_SCAN_DELTA ? scan_columns<true>(of) : scan_columns<false>(of); }

// ---- Heads of one column: lanes are the rows of their state, which lie side by side. A head's rows run one after the
// other, while its state stays in L1.

void scan_channels(const ChannelScanCall& of) {
  const std::uint32_t keys = of.key_width;
  for (std::uint32_t h = 0; h < of.heads; ++h) {
    float* state = of.state + std::uint64_t{h} * keys;
    const float* rates = of.rates + std::uint64_t{h} * keys;
    for (std::uint32_t r = 0; r < of.rows; ++r) {
      const float *k = of.k + r * of.k_stride, *q = of.q + r * of.q_stride;
      const float step = of.steps[r * of.step_stride + h], value = of.v[r * of.v_stride + h];
      const F width = set(step), change = set(step * value);
      F total = zero();
      for_vectors(keys, [&](std::uint32_t d, std::uint32_t count) {
        const F power = mul(width, load_some(rates + d, count));
        const F left = mul(load_some(state + d, count), keep_nan(power, exp(power)));
        const F s = fma(load_some(k + d, count), change, left);
        store_some(state + d, s, count);
        total = fma(s, load_some(q + d, count), total);
      });
      const float y = of.scale * sum(total);
      of.out[r * of.out_stride + h] = of.skip ? y + of.skip[h] * value : y;
    }
  }
}

// ---- The convolution ------------------------------------------------------------------------------------------------

// Row n of what the sequence's state holds, then of its rows of this step.
inline const float* window_row(const ConvolutionCall& of, std::uint64_t n) {
  const std::uint32_t before = of.length - 1;
  return n < before ? of.state + n * of.state_stride : of.x + (n - before) * of.x_stride;
}

void convolve(const ConvolutionCall& of) {
  for (std::uint32_t r = 0; r < of.rows; ++r) {
    float* out = of.out + r * of.out_stride;
    const std::uint32_t old = r + 1 < of.length ? of.length - 1 - r : 0;
    const float *state = of.state + r * of.state_stride, *x = of.x + r * of.x_stride;
    for_vectors(of.columns, [&](std::uint32_t c, std::uint32_t count) {
      F sum = of.bias ? load_some(of.bias + c, count) : zero();
      std::uint32_t i = 0;
      const float* filter = of.filters + c;
      for (; i < old; ++i, filter += of.filter_stride)
        sum = fma(load_some(filter, count), load_some(state + i * of.state_stride + c, count), sum);
      for (; i < of.length; ++i, filter += of.filter_stride)
        sum = fma(load_some(filter, count), load_some(x - (of.length - 1 - i) * of.x_stride + c, count), sum);
      store_some(out + c, of.activation ? activate(of.activation, sum) : sum, count);
    });
  }
  // From the front: a row comes from behind where it goes.
  for (std::uint32_t i = 0; i + 1 < of.length; ++i)
    __builtin_memmove(of.state + i * of.state_stride, window_row(of, std::uint64_t{of.rows} + i),
                      of.columns * sizeof(float));
}

const RecurrentKernels kRecurrentKernels = {scan_steps, scan, scan_channels, convolve};

}  // namespace
}  // namespace nacelle::cpu
