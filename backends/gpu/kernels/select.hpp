// LOGITS_SELECT: from rows of logits to the few candidates that a sampler needs, so that only these cross to the host.
//   select_adjust  a copy of the row: masked, NaN as -inf, then its sparse adjustments
//   select_stretch a block a stretch of the row: division by the temperature, sums of exponentials, the best candidates
//   select_merge   a block a row: the best of the stretches' candidates, both logsumexps
// Counts are made with atomics, whose order cannot matter; everything else has an order of its own.
#pragma once

#include "backends/gpu/kernels/rows.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kStretch = 2048;       // columns
constexpr std::uint32_t kMaxCandidates = 256;  // k of a plan
constexpr std::uint32_t kSelectThreads = 256;

struct Adjustment {  // nacelle_adjustment
  std::uint32_t token;
  float repetition, bias;
};

SIMT_KERNEL(256) select_adjust(const SelectArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  const float* from = row_of(a.logits, row);
  float* to = a.adjusted + static_cast<std::uint64_t>(row) * a.logits.stride;
  const bool masked = a.masks && (*a.flags & 1u);  // NACELLE_STEP_MASKS
  const std::uint32_t* mask =
      masked ? a.masks + static_cast<std::uint64_t>(row) * ((a.logits.width + 31) / 32) : nullptr;
  for (std::uint32_t i = simt::thread(); i < a.logits.width; i += simt::threads()) {
    float value = from[i];
    if (value != value || (mask && !(mask[i / 32] >> (i % 32) & 1))) value = -INFINITY;
    to[i] = value;
  }
  simt::barrier();
  // In their order: a token may come twice.
  if (simt::thread() != 0) return;
  const auto* changes = static_cast<const Adjustment*>(a.adjustments);
  for (std::uint32_t i = a.adjustment_starts[row]; i < a.adjustment_starts[row + 1] && i < a.adjustment_count; ++i) {
    const Adjustment change = changes[i];
    if (change.token >= a.logits.width || to[change.token] == -INFINITY) continue;
    const float value = to[change.token];
    to[change.token] = (value > 0 ? value / change.repetition : value * change.repetition) + change.bias;
  }
}

// Rises with the value, so that whole numbers can be compared in its place. Adding 0 makes one zero of the two.
SIMT_DEVICE std::uint32_t order_key(float value) {
  const std::uint32_t bits = simt::float_to_bits(value + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// What a block keeps while it looks for the k largest of n values.
struct TopSpace {
  const simt::Shared<std::uint32_t>&counts, &state, &found;
};

// The k largest of `value(0 .. n)`, k <= n, into found[0 .. k): larger ones first, of equals the smaller index. Four
// passes of 8 bits narrow down the key of the k-th; larger ones are all taken, equal ones in the order of their index.
// Uses state[0 .. 3] and counts[0 .. 256), once a kernel; ranks by comparing each with all, for k is small.
template <class Value>
SIMT_DEVICE void find_top(const Value& value, std::uint32_t n, std::uint32_t k, const TopSpace& space) {
  std::uint32_t prefix = 0, wanted = k;
  for (std::uint32_t shift = 32; shift > 0; shift -= 8) {
    for (std::uint32_t i = simt::thread(); i < 256; i += simt::threads()) space.counts[i] = 0;
    simt::barrier();
    for (std::uint32_t i = simt::thread(); i < n; i += simt::threads()) {
      const std::uint32_t key = order_key(value(i));
      if (shift == 32 || key >> shift == prefix) simt::atomic_add(space.counts[key >> (shift - 8) & 255], 1u);
    }
    simt::barrier();
    if (simt::thread() == 0) {
      std::uint32_t above = 0, digit = 255;
      for (; digit > 0; --digit) {
        const std::uint32_t here = space.counts[digit];
        if (above + here >= wanted) break;
        above += here;
      }
      space.state[0] = prefix << 8 | digit;
      space.state[1] = wanted - above;
    }
    simt::barrier();
    prefix = space.state[0];
    wanted = space.state[1];
  }
  // `wanted` of those equal to `prefix` are taken, the first ones: threads look at runs of their own, and the counts of
  // the runs before say where each stands.
  const std::uint32_t run = (n + simt::threads() - 1) / simt::threads();
  const std::uint32_t begin = simt::thread() * run < n ? simt::thread() * run : n;
  const std::uint32_t end = begin + run < n ? begin + run : n;
  std::uint32_t equal = 0;
  for (std::uint32_t i = begin; i < end; ++i) equal += order_key(value(i)) == prefix;
  space.counts[simt::thread()] = equal;
  if (simt::thread() == 0) space.state[2] = 0;
  simt::barrier();
  std::uint32_t before = 0;
  for (std::uint32_t i = 0; i < simt::thread(); ++i) before += space.counts[i];
  for (std::uint32_t i = begin; i < end; ++i) {
    const std::uint32_t key = order_key(value(i));
    if (key > prefix || (key == prefix && before++ < wanted)) space.found[simt::atomic_add(space.state[2], 1u)] = i;
  }
  simt::barrier();
  // Found in any order; now by rank.
  std::uint32_t index = 0, rank = 0;
  const bool mine = simt::thread() < k;
  if (mine) {
    index = space.found[simt::thread()];
    const std::uint32_t key = order_key(value(index));
    for (std::uint32_t i = 0; i < k; ++i) {
      const std::uint32_t other = space.found[i], other_key = order_key(value(other));
      rank += other_key > key || (other_key == key && other < index);
    }
  }
  simt::barrier();
  if (mine) space.found[rank] = index;
  simt::barrier();
}

#define NACELLE_TOP_SPACE(name)                             \
  SIMT_SHARED(std::uint32_t, name##_counts, 256);           \
  SIMT_SHARED(std::uint32_t, name##_state, 3);              \
  SIMT_SHARED(std::uint32_t, name##_found, kMaxCandidates); \
  const TopSpace name { name##_counts, name##_state, name##_found }

// Maximum and sum of exponentials over the columns of a stretch.
SIMT_DEVICE void summarise(const float* from, std::uint32_t n, const simt::Shared<float>& parts, float* to) {
  float peak = -INFINITY, sum = 0;
  for (std::uint32_t i = simt::thread(); i < n; i += simt::threads()) peak = fmaxf(peak, from[i]);
  peak = reduce<Max>(peak, parts);
  if (peak != -INFINITY && peak != INFINITY)
    for (std::uint32_t i = simt::thread(); i < n; i += simt::threads()) sum = sum + expf(from[i] - peak);
  sum = reduce<Add>(sum, parts);
  if (simt::thread() == 0) {
    to[0] = peak;
    to[1] = sum;
  }
}

struct PlainValues {
  const float* from;
  SIMT_DEVICE float operator()(std::uint32_t i) const { return from[i]; }
};

// Grid: stretches, rows.
SIMT_KERNEL(kSelectThreads) select_stretch(const SelectArguments a) {
  const std::uint32_t stretch = simt::block_x(), row = simt::block_y(), first = stretch * kStretch;
  if (row >= *a.count) return;
  SIMT_SHARED(float, parts, 8);
  NACELLE_TOP_SPACE(top);
  const std::uint32_t n = a.logits.width - first < kStretch ? a.logits.width - first : kStretch;
  const float* raw = row_of(a.logits, row) + first;
  float* adjusted = a.adjusted + static_cast<std::uint64_t>(row) * a.logits.stride + first;
  const float temperature = a.temperatures[row];
  if (temperature != 0 && temperature != 1)
    for (std::uint32_t i = simt::thread(); i < n; i += simt::threads()) adjusted[i] = adjusted[i] / temperature;
  const std::uint64_t at = static_cast<std::uint64_t>(row) * a.stretches + stretch;
  summarise(raw, n, parts, a.summaries + at * 4);
  summarise(adjusted, n, parts, a.summaries + at * 4 + 2);
  const std::uint32_t k = a.candidates < n ? a.candidates : n;
  find_top(PlainValues{adjusted}, n, k, top);
  for (std::uint32_t i = simt::thread(); i < a.candidates; i += simt::threads()) {
    const std::uint32_t index = i < k ? static_cast<std::uint32_t>(top.found[i]) : 0;
    a.stretch_ids[at * a.candidates + i] = i < k ? first + index : 0xffffffffu;
    a.stretch_values[at * a.candidates + i] = i < k ? adjusted[index] : -INFINITY;
  }
}

SIMT_DEVICE float log_sum_exp(const float* summaries, std::uint32_t stretches) {
  float peak = -INFINITY, sum = 0;
  for (std::uint32_t i = 0; i < stretches; ++i) peak = fmaxf(peak, summaries[i * 4]);
  if (peak == -INFINITY || peak == INFINITY) return peak;
  for (std::uint32_t i = 0; i < stretches; ++i)
    if (summaries[i * 4] != -INFINITY) sum = fmaf(summaries[i * 4 + 1], expf(summaries[i * 4] - peak), sum);
  return peak + logf(sum);
}

// Grid: rows. The lists of the stretches lie in the order of their ids where values are equal, so that the smaller
// index is the smaller id.
SIMT_KERNEL(kSelectThreads) select_merge(const SelectArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  NACELLE_TOP_SPACE(top);
  const std::uint64_t at = static_cast<std::uint64_t>(row) * a.stretches;
  const std::uint32_t n = a.stretches * a.candidates;
  const float* values = a.stretch_values + at * a.candidates;
  const std::uint32_t* ids = a.stretch_ids + at * a.candidates;
  find_top(PlainValues{values}, n, a.candidates, top);
  for (std::uint32_t i = simt::thread(); i < a.candidates; i += simt::threads()) {
    const std::uint32_t index = top.found[i], id = ids[index];
    const std::uint64_t to = static_cast<std::uint64_t>(row) * a.candidates + i;
    a.ids[to] = id;
    a.out_adjusted[to] = values[index];
    a.out_raw[to] = id == 0xffffffffu ? -INFINITY : row_of(a.logits, row)[id];
    if (i == 0 && a.best) a.best[row] = id;
  }
  if (simt::thread() < 2)
    a.logsumexp[row * 2 + simt::thread()] = log_sum_exp(a.summaries + at * 4 + simt::thread() * 2, a.stretches);
}

}  // namespace nacelle::gpu
