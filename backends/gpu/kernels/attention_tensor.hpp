// Attention over a cache of f16 or bf16 on the tensor cores, for heads of up to 128 columns: scores and mixing are
// m16n8k16 products, everything between them is f32. A warp has 16 queries (the heads that share a key head, packed
// with rows), and a step of the loop is a tile of 64 keys in shared memory.
//
// The same splits as in attention.hpp, a class of its own: within a split each tile moves the running maximum first and
// is mixed under it. Two ways to share the work, with the same products in the same order, hence the same bits: where
// blocks walk the splits each warp has queries of its own; where a split is a block, all warps have the same queries,
// and each computes the scores of a quarter of the keys and mixes a quarter of the columns.
#pragma once

#include "backends/gpu/kernels/attention.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kTensorKeys = 64;  // of a tile
constexpr std::uint32_t kTensorQueries = 16;
constexpr std::uint32_t kTensorWidth = 128;  // of keys and of values, at most; both in multiples of 8
constexpr std::uint32_t kTensorWarps = kAttentionThreads / simt::kLanes;
// Words of two elements. A row of a tile is 4 words longer than it needs, so that the lanes of a fragment, which read 8
// rows and 4 words of each, or 4 pairs of rows and 8 words, meet all 32 banks.
constexpr std::uint32_t kTileStride = kTensorWidth / 2 + 4;
constexpr std::uint32_t kScoreStride = kTensorKeys + 8;

template <bool kBfloat>
SIMT_DEVICE std::uint32_t narrow_pair(float low, float high) {
  const std::uint32_t a = kBfloat ? simt::float_to_bfloat16(low) : simt::float_to_half(low);
  const std::uint32_t b = kBfloat ? simt::float_to_bfloat16(high) : simt::float_to_half(high);
  return a | b << 16;
}

template <bool kBfloat, bool kManySplits>
struct TensorAttention {
  static constexpr std::uint32_t kSteps = kTensorWidth / 16;                             // of a score's sum
  static constexpr std::uint32_t kPairs = kManySplits ? kSteps / kTensorWarps : kSteps;  // of columns, of a warp
  const AttentionArguments& a;
  const simt::Shared<std::uint32_t>&keys, &values;  // [key][kTileStride]
  const simt::Shared<float>& exchange;              // [query][kScoreStride], where warps share queries
  std::uint32_t kv_head, first_head, heads;         // of this block

  // Fragment rows g and g + 8 of a lane's quad, which are two queries.
  struct Queries {
    std::uint32_t pairs[kSteps][4];
    float scale[2];
    std::uint32_t position[2], head[2], row[2];
    bool exists[2];
  };
  // [columns 16 j + 2 n + b, for 2 j + b and the product's column n]: so that a word of a value row serves two
  // products.
  struct Mix {
    float of[2 * kPairs][4];
    SIMT_DEVICE void clear() {
      SIMT_UNROLL for (std::uint32_t n = 0; n < 2 * kPairs; ++n) SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i)
          of[n][i] = 0;
    }
  };
  struct Scores {
    float of[kTensorKeys / 8][4];
  };

  static SIMT_DEVICE void multiply(float (&d)[4], const std::uint32_t (&x)[4], const std::uint32_t (&y)[2]) {
    if (kBfloat)
      simt::multiply_bf16(d, x, y);
    else
      simt::multiply_f16(d, x, y);
  }
  static SIMT_DEVICE std::uint32_t column_pair(std::uint32_t index) {
    return kManySplits ? index * kTensorWarps + simt::warp() : index;
  }

  // f16 queries are divided by a power of two that brings their largest element below 2^15.
  SIMT_DEVICE void load_queries(std::uint32_t row, std::uint32_t count, Queries& to) const {
    const std::uint32_t own = kManySplits ? 0 : simt::warp() * kTensorQueries;
    SIMT_UNROLL for (std::uint32_t r = 0; r < 2; ++r) {
      const std::uint32_t q = own + simt::lane() / 4 + r * 8, t = simt::lane() % 4;
      to.exists[r] = q < count;
      to.row[r] = to.exists[r] ? row + q / heads : row;
      to.head[r] = first_head + (to.exists[r] ? q % heads : 0);
      to.position[r] = a.positions[to.row[r]];
      const float* from = row_of(a.q, to.row[r]) + to.head[r] * a.key_width;
      const auto element = [&](std::uint32_t i) { return to.exists[r] && i < a.key_width ? from[i] : 0.0f; };
      float peak = 0;
      for (std::uint32_t i = t * 2; i < a.key_width; i += 8)
        peak = fmaxf(peak, fmaxf(fabsf(element(i)), fabsf(element(i + 1))));
      peak = fmaxf(peak, simt::shuffle_xor(peak, 1));
      peak = fmaxf(peak, simt::shuffle_xor(peak, 2));
      float factor = 1;
      const std::uint32_t exponent = simt::float_to_bits(peak) >> 23;
      if (!kBfloat && exponent > 14 && exponent < 255) factor = simt::bits_to_float((exponent - 14) << 23);
      to.scale[r] = a.scale * factor;
      const float inverse = 1 / factor;
      SIMT_UNROLL for (std::uint32_t k = 0; k < kSteps; ++k)
          SIMT_UNROLL for (std::uint32_t half = 0; half < 2; ++half) {
        const std::uint32_t i = k * 16 + half * 8 + t * 2;
        to.pairs[k][half * 2 + r] = narrow_pair<kBfloat>(element(i) * inverse, element(i + 1) * inverse);
      }
    }
  }

  // 16 bytes a thread. Zeros where there is no key, and past the width.
  SIMT_DEVICE void load_tile(std::uint32_t sequence, std::uint32_t first, std::uint32_t end, bool is_value) const {
    const std::uint32_t width = is_value ? a.value_width : a.key_width, pieces = (width + 15) / 16 * 2;
    for (std::uint32_t i = simt::thread(); i < kTensorKeys * pieces; i += kAttentionThreads) {
      const std::uint32_t key = i / pieces, piece = i % pieces;
      simt::Words4 words = {0, 0, 0, 0};
      const std::uint8_t* row = first + key < end && piece * 8 < width
                                    ? cache_row(a.cache, sequence, kv_head, first + key, is_value)
                                    : nullptr;
      if (row) words = reinterpret_cast<const simt::Words4*>(row)[piece];
      const simt::Shared<std::uint32_t>& tile = is_value ? values : keys;
      const std::uint32_t at = key * kTileStride + piece * 4;
      tile[at] = words.x;
      tile[at + 1] = words.y;
      tile[at + 2] = words.z;
      tile[at + 3] = words.w;
    }
  }

  // Of 8 keys of the tile.
  SIMT_DEVICE void multiply_keys(const Queries& queries, std::uint32_t group, float (&d)[4]) const {
    SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) d[i] = 0;
    const std::uint32_t at = (group * 8 + simt::lane() / 4) * kTileStride + simt::lane() % 4;
    SIMT_UNROLL for (std::uint32_t k = 0; k < kSteps; ++k) {
      if (k * 16 >= a.key_width) continue;
      const std::uint32_t b[2] = {keys[at + k * 8], keys[at + k * 8 + 4]};
      multiply(d, queries.pairs[k], b);
    }
  }

  SIMT_DEVICE void multiply_tile(const Queries& queries, Scores& to) const {
    if (!kManySplits) {
      SIMT_UNROLL for (std::uint32_t group = 0; group < kTensorKeys / 8; ++group)
          multiply_keys(queries, group, to.of[group]);
      return;
    }
    const std::uint32_t place = simt::lane() / 4 * kScoreStride + simt::lane() % 4 * 2;
    SIMT_UNROLL for (std::uint32_t i = 0; i < kTensorKeys / 8 / kTensorWarps; ++i) {
      const std::uint32_t group = simt::warp() * (kTensorKeys / 8 / kTensorWarps) + i;
      float d[4];
      multiply_keys(queries, group, d);
      SIMT_UNROLL for (std::uint32_t e = 0; e < 4; ++e) exchange[place + e / 2 * 8 * kScoreStride + group * 8 + e % 2] =
          d[e];
    }
    simt::barrier();
    SIMT_UNROLL for (std::uint32_t group = 0; group < kTensorKeys / 8; ++group)
        SIMT_UNROLL for (std::uint32_t e = 0; e < 4; ++e)
            to.of[group][e] = exchange[place + e / 2 * 8 * kScoreStride + group * 8 + e % 2];
  }

  // Products become scores; -infinity where nothing is seen.
  SIMT_DEVICE void finish_scores(const Queries& queries, std::uint32_t first, std::uint32_t end, Scores& scores) const {
    SIMT_UNROLL for (std::uint32_t group = 0; group < kTensorKeys / 8; ++group)
        SIMT_UNROLL for (std::uint32_t e = 0; e < 4; ++e) {
      const std::uint32_t j = first + group * 8 + simt::lane() % 4 * 2 + e % 2, r = e / 2;
      float score = queries.scale[r] * scores.of[group][e];
      if (a.soft_cap != 0) score = a.soft_cap * tanhf(score / a.soft_cap);
      if (a.alibi_bias != 0 || a.bias) score = score + position_bias(a, queries.head[r], queries.position[r], j);
      const bool seen = queries.exists[r] && j < end && is_visible(a, queries.position[r], j);
      scores.of[group][e] = seen ? score : -INFINITY;
    }
  }

  // Moves the maximum, turns scores into weights under it, and adds these up.
  SIMT_DEVICE void weigh(Scores& scores, Softmax (&states)[2], Mix& mixed) const {
    SIMT_UNROLL for (std::uint32_t r = 0; r < 2; ++r) {
      float peak = states[r].peak;
      SIMT_UNROLL for (std::uint32_t group = 0; group < kTensorKeys / 8; ++group) peak =
          fmaxf(peak, fmaxf(scores.of[group][2 * r], scores.of[group][2 * r + 1]));
      peak = fmaxf(peak, simt::shuffle_xor(peak, 1));
      peak = fmaxf(peak, simt::shuffle_xor(peak, 2));
      const float by = states[r].sum == 0 ? 0.0f : expf(states[r].peak - peak);
      float sum = 0;
      SIMT_UNROLL for (std::uint32_t group = 0; group < kTensorKeys / 8; ++group)
          SIMT_UNROLL for (std::uint32_t e = 2 * r; e < 2 * r + 2; ++e) {
        float& weight = scores.of[group][e];
        weight = weight == -INFINITY ? 0.0f : expf(weight - peak);
        sum = sum + weight;
      }
      sum = sum + simt::shuffle_xor(sum, 1);
      sum = sum + simt::shuffle_xor(sum, 2);
      states[r].sum = fmaf(states[r].sum, by, sum);
      states[r].peak = peak;
      SIMT_UNROLL for (std::uint32_t n = 0; n < 2 * kPairs; ++n)
          SIMT_UNROLL for (std::uint32_t e = 2 * r; e < 2 * r + 2; ++e) mixed.of[n][e] = mixed.of[n][e] * by;
    }
  }

  SIMT_DEVICE void mix(const Scores& weights, Mix& mixed) const {
    SIMT_UNROLL for (std::uint32_t k = 0; k < kTensorKeys / 16; ++k) {
      std::uint32_t x[4];
      SIMT_UNROLL for (std::uint32_t i = 0; i < 4; ++i) {
        const float(&of)[4] = weights.of[2 * k + i / 2];
        x[i] = narrow_pair<kBfloat>(of[i % 2 * 2], of[i % 2 * 2 + 1]);
      }
      SIMT_UNROLL for (std::uint32_t p = 0; p < kPairs; ++p) {
        const std::uint32_t pair = column_pair(p);
        if (pair * 16 >= a.value_width) continue;
        const std::uint32_t at = (k * 16 + simt::lane() % 4 * 2) * kTileStride + pair * 8 + simt::lane() / 4;
        const std::uint32_t w[4] = {values[at], values[at + kTileStride], values[at + 8 * kTileStride],
                                    values[at + 9 * kTileStride]};
        const std::uint32_t even[2] = {(w[0] & 0xffffu) | w[1] << 16, (w[2] & 0xffffu) | w[3] << 16};
        const std::uint32_t odd[2] = {w[0] >> 16 | (w[1] & 0xffff0000u), w[2] >> 16 | (w[3] & 0xffff0000u)};
        multiply(mixed.of[2 * p], x, even);
        multiply(mixed.of[2 * p + 1], x, odd);
      }
    }
  }

  // The state of each query over one split.
  SIMT_DEVICE void attend_split(const Queries& queries, std::uint32_t sequence, std::uint32_t split,
                                std::uint32_t keys_end, Softmax (&states)[2], Mix& mixed) const {
    mixed.clear();
    states[0] = states[1] = Softmax();
    const std::uint32_t end = keys_end < (split + 1) * kSplitTokens ? keys_end : (split + 1) * kSplitTokens;
    for (std::uint32_t first = split * kSplitTokens; first < end; first += kTensorKeys) {
      simt::barrier();
      load_tile(sequence, first, end, false);
      load_tile(sequence, first, end, true);
      simt::barrier();
      Scores scores;
      multiply_tile(queries, scores);
      finish_scores(queries, first, end, scores);
      weigh(scores, states, mixed);
      mix(scores, mixed);
    }
  }

  // Calls put(r, column, value) for all that a lane has.
  template <class Put>
  SIMT_DEVICE void visit(const Queries& queries, const Mix& mixed, Put&& put) const {
    SIMT_UNROLL for (std::uint32_t n = 0; n < 2 * kPairs; ++n) SIMT_UNROLL for (std::uint32_t e = 0; e < 4; ++e) {
      const std::uint32_t column = column_pair(n / 2) * 16 + (simt::lane() % 4 * 2 + e % 2) * 2 + n % 2;
      if (queries.exists[e / 2] && column < a.value_width) put(e / 2, column, mixed.of[n][e]);
    }
  }

  SIMT_DEVICE void run(std::uint32_t row, std::uint32_t rows, std::uint32_t sequence) const {
    std::uint32_t keys_end = a.sequence_lengths[sequence], first = 0;
    visible_keys(a, row, rows, first, keys_end);
    Queries queries;
    load_queries(row, rows * heads, queries);
    Mix mixed;
    Softmax states[2];
    if (kManySplits) {
      const std::uint32_t split = simt::block_x();
      const bool any = split * kSplitTokens < keys_end && (split + 1) * kSplitTokens > first;
      attend_split(queries, sequence, split, any ? keys_end : 0, states, mixed);
      const auto partial = [&](std::uint32_t r) {
        return a.partial + partial_of(a, queries.row[r], queries.head[r], split);
      };
      visit(queries, mixed,
            [&](std::uint32_t r, std::uint32_t column, float value) { partial(r)[2 + column] = value; });
      SIMT_UNROLL for (std::uint32_t r = 0; r < 2; ++r) {
        if (!queries.exists[r] || simt::warp() || simt::lane() % 4) continue;
        partial(r)[0] = states[r].sum;
        partial(r)[1] = states[r].peak;
      }
      return;
    }
    Mix total;
    total.clear();
    Softmax whole[2];
    for (std::uint32_t split = first / kSplitTokens; split * kSplitTokens < keys_end; ++split) {
      attend_split(queries, sequence, split, keys_end, states, mixed);
      const Factors by[2] = {fold(whole[0], states[0]), fold(whole[1], states[1])};
      SIMT_UNROLL for (std::uint32_t n = 0; n < 2 * kPairs; ++n) SIMT_UNROLL for (std::uint32_t e = 0; e < 4; ++e)
          total.of[n][e] = fold(total.of[n][e], mixed.of[n][e], by[e / 2]);
    }
    visit(queries, total, [&](std::uint32_t r, std::uint32_t column, float value) {
      row_of(a.out, queries.row[r])[queries.head[r] * a.value_width + column] =
          finish(a, queries.head[r], whole[r], value);
    });
  }
};

// Grid as of `attention`, with up to 16 heads a block. A block takes as many rows as its warps have queries for.
template <bool kBfloat, bool kManySplits>
SIMT_KERNEL(kAttentionThreads)
attention_tensor(const AttentionArguments a) {
  if (simt::block_z() * a.tile_rows >= *a.count) return;
  SIMT_SHARED(std::uint32_t, keys, kTensorKeys * kTileStride);
  SIMT_SHARED(std::uint32_t, values, kTensorKeys * kTileStride);
  SIMT_SHARED(float, exchange, kManySplits ? kTensorQueries* kScoreStride : 1);
  const HeadGroup group = head_group(a, kTensorQueries);
  const TensorAttention<kBfloat, kManySplits> block{a, keys, values, exchange, group.kv_head, group.first, group.count};
  for_each_sequence(
      a, [&](std::uint32_t row, std::uint32_t rows, std::uint32_t sequence) { block.run(row, rows, sequence); });
}

}  // namespace nacelle::gpu
