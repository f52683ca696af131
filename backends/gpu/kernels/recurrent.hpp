// Operations that carry a state along each sequence: a linear recurrence and a causal convolution. Rows of a sequence
// are worked on one after the other where one needs what the other has left, and sums run in an order that follows from
// the widths alone: a row's bits depend on nothing but what comes before it in its sequence.
#pragma once

#include "backends/gpu/kernels/rows.hpp"

namespace nacelle::gpu {

SIMT_DEVICE float* state_of(const StateView& view, std::uint32_t sequence) {
  const std::uint32_t block = view.tables[static_cast<std::uint64_t>(sequence) * view.table_width];
  return reinterpret_cast<float*>(view.base + block * view.block_bytes);
}

// Of a sequence whose rows begin at `begin`: its state is zeros, whatever is stored.
SIMT_DEVICE bool is_fresh(const StateView& view, std::uint32_t begin) { return view.positions[begin] == 0; }

// ---- The recurrence. A block has 32 columns of one head's state, a lane a column, a warp a run of kKeys of the
// state's rows, which stay in its registers from the first row of the step to the last.

constexpr std::uint32_t kScanWarps = 8, kScanThreads = kScanWarps * simt::kLanes;

// What all columns of a head ask of a row, in shared memory: a thread brings one of its keys. Two turns, so that a
// row's is brought while the one before it is worked on.
struct ScanRow {
  simt::Shared<float> keys, queries, decays, strengths;

  SIMT_DEVICE void bring(const ScanArguments& a, std::uint32_t row, std::uint32_t head, std::uint32_t turn) const {
    const std::uint32_t d = simt::thread(), at = turn * kScanThreads + d, group = head / (a.heads / a.groups);
    const bool there = d < a.key_width;
    const std::uint32_t own = a.steps.width == a.heads ? head : head * a.key_width + (there ? d : 0);
    const float step = softplus(row_of(a.steps, row)[own] + (a.step_bias ? a.step_bias[own] : 0.0f));
    keys[at] = there ? row_of(a.k, row)[group * a.key_width + d] : 0.0f;
    queries[at] = there ? row_of(a.q, row)[group * a.key_width + d] : 0.0f;
    decays[at] = there ? expf(a.rate[a.each_row ? head * a.key_width + d : head] * step) : 0.0f;
    if (d == 0) strengths[turn] = a.strength.data ? row_of(a.strength, row)[head] : step;
  }
};

// The sum of the warps' parts of this lane's column, in order.
SIMT_DEVICE float sum_of_warps(float part, const simt::Shared<float>& parts) {
  parts[simt::thread()] = part;
  simt::barrier();
  float sum = parts[simt::lane()];
  for (std::uint32_t i = 1; i < kScanWarps; ++i) sum = sum + parts[i * simt::kLanes + simt::lane()];
  return sum;
}

// Grid: tiles of columns by heads, sequences. kKeyWidth: the most that a head's keys may have.
template <std::uint32_t kKeyWidth>
SIMT_KERNEL(256)
state_scan(const ScanArguments a) {
  constexpr std::uint32_t kKeys = kKeyWidth / kScanWarps;
  static_assert(kKeyWidth <= kScanThreads, "a thread brings one key");
  const std::uint32_t sequence = simt::block_y();
  if (sequence >= *a.sequence_count) return;
  const std::uint32_t begin = a.state.sequence_starts[sequence], end = a.state.sequence_starts[sequence + 1];
  if (begin >= end) return;
  SIMT_SHARED(float, keys, 2 * kScanThreads);
  SIMT_SHARED(float, queries, 2 * kScanThreads);
  SIMT_SHARED(float, decays, 2 * kScanThreads);
  SIMT_SHARED(float, strengths, 2);
  SIMT_SHARED(float, known_parts, kScanThreads);
  SIMT_SHARED(float, parts, kScanThreads);
  const ScanRow asked{keys, queries, decays, strengths};
  const std::uint32_t tiles = (a.value_width + simt::kLanes - 1) / simt::kLanes, head = simt::block_x() / tiles;
  const std::uint32_t column = simt::block_x() % tiles * simt::kLanes + simt::lane(), first = simt::warp() * kKeys;
  const bool used = column < a.value_width;
  const std::uint32_t present = !used || first >= a.key_width ? 0
                                : a.key_width - first < kKeys ? a.key_width - first
                                                              : kKeys;  // of this thread's elements
  float* stored =
      state_of(a.state, sequence) + (static_cast<std::uint64_t>(head) * a.key_width + first) * a.value_width + column;
  const std::uint32_t recalled = is_fresh(a.state, begin) ? 0 : present;
  float state[kKeys];
  SIMT_UNROLL for (std::uint32_t i = 0; i < kKeys; ++i) state[i] =
      i < recalled ? stored[static_cast<std::uint64_t>(i) * a.value_width] : 0.0f;

  asked.bring(a, begin, head, 0);
  for (std::uint32_t row = begin; row < end; ++row) {
    const std::uint32_t turn = (row - begin) & 1, at = turn * kScanThreads + first;
    simt::barrier();
    if (row + 1 < end) asked.bring(a, row + 1, head, turn ^ 1);
    const float value = used ? row_of(a.v, row)[head * a.value_width + column] : 0.0f;
    float known = 0, sum = 0;  // known: what the state already gives for this key
    SIMT_UNROLL for (std::uint32_t i = 0; i < kKeys; ++i) {
      state[i] = state[i] * decays[at + i];
      known = fmaf(state[i], keys[at + i], known);
    }
    if (a.delta) known = sum_of_warps(known, known_parts);
    const float change = strengths[turn] * (a.delta ? value - known : value);
    SIMT_UNROLL for (std::uint32_t i = 0; i < kKeys; ++i) {
      state[i] = fmaf(keys[at + i], change, state[i]);
      sum = fmaf(state[i], queries[at + i], sum);
    }
    sum = sum_of_warps(sum, parts);
    if (used && simt::warp() == 0)
      row_of(a.out, row)[head * a.value_width + column] =
          a.skip ? fmaf(a.skip[head], value, a.scale * sum) : a.scale * sum;
  }
  SIMT_UNROLL for (std::uint32_t i = 0; i < kKeys; ++i) if (i < present)
      stored[static_cast<std::uint64_t>(i) * a.value_width] = state[i];
}

// ---- The convolution; a thread has a column. Grid: columns, rows. The sequence's first rows of the step look back
// into its state: one block does those, in order, and then writes the new state, so that nobody reads what was
// overwritten.

// Row `place` of the rows from the state's first one on, the step's own behind it.
SIMT_DEVICE float row_behind(const ConvolutionArguments& a, const float* state, bool fresh, std::uint32_t begin,
                             std::uint32_t place, std::uint32_t column) {
  if (place + 1 >= a.taps) return row_of(a.x, begin + place + 1 - a.taps)[column];
  return fresh ? 0.0f : state[static_cast<std::uint64_t>(place) * a.x.width + column];
}

SIMT_KERNEL(256) convolution(const ConvolutionArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.x.width) return;
  const std::uint32_t sequence = a.row_sequences[row];
  const std::uint32_t begin = a.state.sequence_starts[sequence], end = a.state.sequence_starts[sequence + 1];
  const bool leads = row == begin, fresh = is_fresh(a.state, begin);
  if (!leads && row - begin + 1 < a.taps) return;
  float* state = state_of(a.state, sequence);
  const float* filter = a.filters + static_cast<std::uint64_t>(column) * a.taps;
  const std::uint32_t last = !leads ? row + 1 : end - begin < a.taps ? end : begin + a.taps - 1;
  for (std::uint32_t r = row; r < last; ++r) {
    float sum = a.bias ? a.bias[column] : 0.0f;
    for (std::uint32_t i = 0; i < a.taps; ++i)
      sum = fmaf(filter[i], row_behind(a, state, fresh, begin, r - begin + i, column), sum);
    row_of(a.out, r)[column] = a.activation ? activate(a.activation, sum, 1) : sum;
  }
  if (!leads) return;
  for (std::uint32_t i = 0; i + 1 < a.taps; ++i)  // upwards: a row is read before it is written
    state[static_cast<std::uint64_t>(i) * a.x.width + column] =
        row_behind(a, state, fresh, begin, end - begin + i, column);
}

}  // namespace nacelle::gpu
