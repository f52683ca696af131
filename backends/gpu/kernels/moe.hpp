// Mixture of experts, and low-rank adapters: products whose weights are chosen on the device, row by row. Counts are
// never read by the host.
#pragma once

#include "backends/gpu/kernels/matmul.hpp"
#include "backends/gpu/kernels/rows.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kMaxExperts = 256;

// The k best of n scores in shared memory into `order`, best first, of equals the smaller index; those of -inf last.
SIMT_DEVICE void best_of(const simt::Shared<float>& scores, std::uint32_t first, std::uint32_t n, std::uint32_t k,
                         const simt::Shared<std::uint32_t>& order) {
  simt::barrier();
  for (std::uint32_t i = simt::thread(); i < n; i += simt::threads()) {
    const float own = scores[first + i];
    std::uint32_t rank = 0;
    for (std::uint32_t j = 0; j < n; ++j) {
      const float other = scores[first + j];
      rank += other > own || (other == own && j < i);
    }
    if (rank < k) order[rank] = i;
  }
  simt::barrier();
}

// Grid: rows. backends/reference/ops_moe.cpp says what is chosen and what it weighs.
SIMT_KERNEL(256) moe_route(const MoeRouteArguments a) {
  const std::uint32_t row = simt::block_x();
  if (row >= *a.count) return;
  SIMT_SHARED(float, probability, kMaxExperts);
  SIMT_SHARED(float, choice, kMaxExperts);
  SIMT_SHARED(float, worth, kMaxExperts);
  SIMT_SHARED(float, parts, 8);
  SIMT_SHARED(std::uint32_t, order, kMaxExperts);
  const float* scores = row_of(a.scores, row);
  const std::uint32_t expert = simt::thread();
  const bool mine = expert < a.expert_count;
  float p = mine ? scores[expert] : -INFINITY;
  if (a.routing == NACELLE_ROUTE_SOFTMAX_THEN_TOP) {
    const float peak = reduce<Max>(p, parts);
    p = mine ? expf(p - peak) : 0.0f;
    p = p / reduce<Add>(p, parts);
  }
  if (a.routing == NACELLE_ROUTE_SIGMOID) p = sigmoid(p);
  if (mine) {
    probability[expert] = p;
    choice[expert] = p + (a.bias ? a.bias[expert] : 0.0f);
  }
  if (a.group_count) {
    // A group is worth its best expert, or its two best where experts are scored by sigmoid; the others are struck out.
    const std::uint32_t size = a.expert_count / a.group_count;
    const std::uint32_t judged = a.routing == NACELLE_ROUTE_SIGMOID ? (size < 2 ? size : 2) : 1;
    simt::barrier();
    if (expert < a.group_count) {
      float best = -INFINITY, second = -INFINITY;
      for (std::uint32_t i = 0; i < size; ++i) {
        const float value = choice[expert * size + i];
        second = value > best ? best : fmaxf(second, value);
        best = fmaxf(best, value);
      }
      worth[expert] = judged == 2 ? best + second : best;
    }
    best_of(worth, 0, a.group_count, a.group_count, order);
    if (mine) {
      bool kept = false;
      for (std::uint32_t i = 0; i < a.group_used; ++i) kept = kept || order[i] == expert / size;
      if (!kept) choice[expert] = -INFINITY;
    }
  }
  best_of(choice, 0, a.expert_count, a.used_count, order);
  if (simt::thread() != 0) return;
  float peak = -INFINITY, sum = 0;
  for (std::uint32_t i = 0; i < a.used_count; ++i) peak = fmaxf(peak, probability[order[i]]);
  float* weights = row_of(a.weights, row);
  for (std::uint32_t i = 0; i < a.used_count; ++i) {
    float weight = probability[order[i]];
    if (a.routing == NACELLE_ROUTE_TOP_THEN_SOFTMAX) weight = expf(weight - peak);
    weights[i] = weight;
    sum = sum + weight;
    a.experts[static_cast<std::uint64_t>(row) * a.expert_stride + i] = order[i];
  }
  const bool divide = a.routing == NACELLE_ROUTE_TOP_THEN_SOFTMAX || (a.renormalise && sum > 0);
  for (std::uint32_t i = 0; i < a.used_count; ++i) weights[i] = (divide ? weights[i] / sum : weights[i]) * a.scale;
}

// Grid: panels of an expert, chosen experts of a row, rows; a warp a slice. Rows with an expert of their own share
// nothing, so each is a product of one row.
template <class Weights>
SIMT_KERNEL(256)
moe_matmul(const MoeMatmulArguments a) {
  const std::uint32_t row = simt::block_z(), chosen = simt::block_y();
  if (row >= *a.count) return;
  std::uint32_t expert = a.experts[static_cast<std::uint64_t>(row) * a.expert_stride + chosen];
  if (expert >= a.expert_count) expert = 0;
  Rows x = a.x;
  if (a.x_per_expert) x.data += static_cast<std::uint64_t>(chosen) * a.weights.columns;
  x.width = a.weights.columns;
  float sums[1][2];
  sum_plain_slice<Weights, 1>(a.weights, expert * a.expert_panels + simt::block_x(), slice_of(a.weights, simt::warp()),
                              x, row, row + 1, sums);
  SIMT_SHARED(float, parts, 8 * 16);
  if (simt::lane() % 4 == 0)
    SIMT_UNROLL for (std::uint32_t i = 0; i < 2; ++i) parts[simt::warp() * 16 + simt::lane() / 4 + i * 8] = sums[0][i];
  simt::barrier();
  const std::uint32_t output = simt::block_x() * kPanel + simt::thread();
  if (simt::thread() >= 16 || output >= a.outputs) return;
  float total = 0;
  for (std::uint32_t slice = 0; slice < a.weights.slices; ++slice) total = total + parts[slice * 16 + simt::thread()];
  if (a.bias) total = total + a.bias[static_cast<std::uint64_t>(expert) * a.outputs + output];
  row_of(a.out, row)[chosen * a.outputs + output] = total;
}

SIMT_KERNEL(256) moe_combine(const MoeCombineArguments a) {
  const std::uint32_t row = simt::block_y(), column = simt::block_x() * simt::threads() + simt::thread();
  if (row >= *a.count || column >= a.out.width) return;
  float sum = 0;
  for (std::uint32_t i = 0; i < a.used_count; ++i)
    sum = fmaf(row_of(a.weights, row)[i], row_of(a.y, row)[i * a.out.width + column], sum);
  row_of(a.out, row)[column] = sum;
}

// y + scale (x A^T) B^T with the adapter in the row's slot. Grid: rows, chosen experts of a row.
SIMT_KERNEL(256) adapter(const AdapterArguments a) {
  const std::uint32_t row = simt::block_x(), chosen = simt::block_y();
  if (row >= *a.count) return;
  SIMT_SHARED(float, low, kMaxRank);
  std::uint32_t expert = a.experts ? a.experts[static_cast<std::uint64_t>(row) * a.expert_stride + chosen] : 0;
  if (expert >= a.expert_count) expert = 0;
  const float* x = row_of(a.x, row) + static_cast<std::uint64_t>(chosen) * a.x_step;
  const std::uint32_t first = chosen * a.outputs, slot = a.slots[row];
  const bool has = slot < a.entry_count;
  const std::uint32_t rank = has ? a.entries[slot].rank : 0;
  for (std::uint32_t i = simt::warp(); i < rank; i += simt::threads() / simt::kLanes) {
    const float* weights = a.entries[slot].a + (static_cast<std::uint64_t>(expert) * rank + i) * a.columns;
    float sum = 0;
    for (std::uint32_t k = simt::lane(); k < a.columns; k += simt::kLanes) sum = fmaf(x[k], weights[k], sum);
    for (std::uint32_t mask = 16; mask; mask /= 2) sum = sum + simt::shuffle_xor(sum, mask);
    if (simt::lane() == 0) low[i] = sum;
  }
  simt::barrier();
  const float* base = row_of(a.base, row) + first;
  float* out = row_of(a.out, row) + first;
  for (std::uint32_t n = simt::thread(); n < a.outputs; n += simt::threads()) {
    float sum = 0;
    for (std::uint32_t i = 0; i < rank; ++i)
      sum = fmaf(low[i], a.entries[slot].b[(static_cast<std::uint64_t>(expert) * a.outputs + n) * rank + i], sum);
    out[n] = rank ? fmaf(a.entries[slot].scale, sum, base[n]) : base[n];
  }
}

}  // namespace nacelle::gpu
