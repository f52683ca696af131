// The paged KV cache and attention over it, or over the step's own rows.
//
// The keys of a sequence are cut into splits of kSplit tokens at fixed positions, and these into tiles of 32. Within a
// split a row keeps a running maximum, sum and mix of values (Dao et al., arXiv 2205.14135), one update a tile; the
// splits are then folded together in order. So a row's bits depend neither on its chunk nor on who works on which
// split: decode gives the splits to different blocks and folds them in a second kernel, prefill folds them in one. The
// query heads that share a key head are packed with the rows into one block of up to kQueries queries.
#pragma once

#include "backends/gpu/kernels/rows.hpp"

namespace nacelle::gpu {

constexpr std::uint32_t kSplitTokens = 256;
constexpr std::uint32_t kTileTokens = 32;  // a warp looks at one key a lane
constexpr std::uint32_t kQueries = 8;
constexpr std::uint32_t kAttentionThreads = 128;
constexpr std::uint32_t kBlockElements = 32;  // of q8_0 and q4_0
// Columns of a tile: all of a head, or, where that is too much for 48 KB of shared memory, as many as there are
// threads.
template <std::uint32_t kWidth>
constexpr std::uint32_t kTileColumnsOf = kWidth <= 256 ? kWidth : kAttentionThreads;

// ---- Elements of the cache

SIMT_DEVICE float load_element(std::uint32_t type, const std::uint8_t* row, std::uint32_t i) {
  switch (type) {
    case NACELLE_TYPE_F32: return reinterpret_cast<const float*>(row)[i];
    case NACELLE_TYPE_F16: return simt::half_to_float(reinterpret_cast<const std::uint16_t*>(row)[i]);
    case NACELLE_TYPE_BF16: return simt::bfloat16_to_float(reinterpret_cast<const std::uint16_t*>(row)[i]);
    case NACELLE_TYPE_Q8_0: {
      const std::uint8_t* block = row + i / kBlockElements * 34;
      const float scale = simt::half_to_float(*reinterpret_cast<const std::uint16_t*>(block));
      return scale * static_cast<float>(static_cast<std::int8_t>(block[2 + i % kBlockElements]));
    }
    default: {
      const std::uint8_t* block = row + i / kBlockElements * 18;
      const float scale = simt::half_to_float(*reinterpret_cast<const std::uint16_t*>(block));
      const std::uint32_t code = block[2 + i % 16] >> (i % kBlockElements / 16 * 4) & 15;
      return scale * (static_cast<float>(code) - 8.0f);
    }
  }
}

// Q8_0: d = max |x| / 127; q = x / d, rounded half away from zero, with d not yet rounded to f16.
SIMT_DEVICE void store_q8_0(const float* x, std::uint8_t* block) {
  float peak = 0;
  for (std::uint32_t i = 0; i < kBlockElements; ++i) peak = fmaxf(peak, fabsf(x[i]));
  const float scale = peak / 127, inverse = scale > 0 ? 1 / scale : 0.0f;
  *reinterpret_cast<std::uint16_t*>(block) = simt::float_to_half(scale);
  for (std::uint32_t i = 0; i < kBlockElements; ++i)
    block[2 + i] =
        static_cast<std::uint8_t>(static_cast<std::int8_t>(fminf(fmaxf(roundf(x[i] * inverse), -127.0f), 127.0f)));
}

// Q4_0: d = x / -8 for the x of largest magnitude; q = min(15, floor(x / d + 8.5)).
SIMT_DEVICE void store_q4_0(const float* x, std::uint8_t* block) {
  float peak = 0;
  for (std::uint32_t i = 0; i < kBlockElements; ++i)
    if (fabsf(x[i]) > fabsf(peak)) peak = x[i];
  const float scale = peak / -8, inverse = scale != 0 ? 1 / scale : 0.0f;
  *reinterpret_cast<std::uint16_t*>(block) = simt::float_to_half(scale);
  for (std::uint32_t i = 0; i < 16; ++i) {
    const auto low = static_cast<std::uint32_t>(fminf(fmaxf(floorf(fmaf(x[i], inverse, 8.5f)), 0.0f), 15.0f));
    const auto high = static_cast<std::uint32_t>(fminf(fmaxf(floorf(fmaf(x[i + 16], inverse, 8.5f)), 0.0f), 15.0f));
    block[2 + i] = static_cast<std::uint8_t>(low | high << 4);
  }
}

// Piece `index` of a row: one element, or one block of a block type.
SIMT_DEVICE void store_piece(std::uint32_t type, const float* x, std::uint32_t index, std::uint8_t* row) {
  switch (type) {
    case NACELLE_TYPE_F32: reinterpret_cast<float*>(row)[index] = x[index]; return;
    case NACELLE_TYPE_F16: reinterpret_cast<std::uint16_t*>(row)[index] = simt::float_to_half(x[index]); return;
    case NACELLE_TYPE_BF16: reinterpret_cast<std::uint16_t*>(row)[index] = simt::float_to_bfloat16(x[index]); return;
    case NACELLE_TYPE_Q8_0: store_q8_0(x + index * kBlockElements, row + index * 34); return;
    default: store_q4_0(x + index * kBlockElements, row + index * 18); return;
  }
}
SIMT_DEVICE std::uint32_t pieces_of(std::uint32_t type, std::uint32_t width) {
  return type == NACELLE_TYPE_Q8_0 || type == NACELLE_TYPE_Q4_0 ? width / kBlockElements : width;
}

// Where a token's row of a head lies; nullptr where the table has no block for it.
SIMT_DEVICE std::uint8_t* cache_row(const KvView& cache, std::uint32_t sequence, std::uint32_t head,
                                    std::uint32_t position, bool is_value) {
  const std::uint32_t entry = position / cache.block_tokens;
  if (entry >= cache.table_width) return nullptr;
  const std::uint32_t block = cache.tables[static_cast<std::uint64_t>(sequence) * cache.table_width + entry];
  if (block >= cache.block_count) return nullptr;
  const std::uint64_t head_bytes = is_value ? cache.value_head_bytes : cache.key_head_bytes;
  const std::uint64_t row_bytes = is_value ? cache.value_row_bytes : cache.key_row_bytes;
  return cache.base + block * cache.block_bytes + (is_value ? cache.value_offset : cache.key_offset) +
         head * head_bytes + position % cache.block_tokens * row_bytes;
}

// Grid: heads, rows.
SIMT_KERNEL(128) kv_write(const KvWriteArguments a) {
  const std::uint32_t head = simt::block_x(), row = simt::block_y();
  if (row >= *a.count) return;
  const std::uint32_t sequence = a.row_sequences[row], position = a.positions[row];
  std::uint8_t* key = cache_row(a.cache, sequence, head, position, false);
  if (!key) return;
  const float* from = row_of(a.keys, row) + head * a.key_width;
  for (std::uint32_t i = simt::thread(); i < pieces_of(a.cache.key_type, a.key_width); i += simt::threads())
    store_piece(a.cache.key_type, from, i, key);
  if (!a.values.data) return;
  std::uint8_t* value = cache_row(a.cache, sequence, head, position, true);
  from = row_of(a.values, row) + head * a.value_width;
  for (std::uint32_t i = simt::thread(); i < pieces_of(a.cache.value_type, a.value_width); i += simt::threads())
    store_piece(a.cache.value_type, from, i, value);
}

// Grid: any number of blocks along x. Copies 16 bytes a thread.
SIMT_KERNEL(256) copy_block(const BlockCopyArguments a) {
  const auto* from = reinterpret_cast<const simt::Words4*>(a.base + a.from * a.block_bytes);
  auto* to = reinterpret_cast<simt::Words4*>(a.base + a.to * a.block_bytes);
  const std::uint64_t stride = static_cast<std::uint64_t>(simt::blocks_x()) * simt::threads();
  for (std::uint64_t i = simt::block_x() * simt::threads() + simt::thread(); i < a.block_bytes / 16; i += stride)
    to[i] = from[i];
}

// ---- Where keys and values come from. `j` counts a sequence's keys from 0; kType fixes the type where it is known.

template <std::uint32_t kType>
struct CachedKeys {
  static SIMT_DEVICE std::uint32_t count(const AttentionArguments& a, std::uint32_t sequence) {
    return a.sequence_lengths[sequence];
  }
  static SIMT_DEVICE std::uint32_t position(const AttentionArguments&, std::uint32_t, std::uint32_t j) { return j; }
  static SIMT_DEVICE float element(const AttentionArguments& a, std::uint32_t sequence, std::uint32_t head,
                                   std::uint32_t j, std::uint32_t i, bool is_value) {
    const std::uint8_t* row = cache_row(a.cache, sequence, head, j, is_value);
    const std::uint32_t type = is_value ? a.cache.value_type : a.cache.key_type;
    return row ? load_element(kType ? kType : type, row, i) : 0.0f;
  }
};

struct OwnKeys {
  static SIMT_DEVICE std::uint32_t count(const AttentionArguments& a, std::uint32_t sequence) {
    return a.sequence_starts[sequence + 1] - a.sequence_starts[sequence];
  }
  static SIMT_DEVICE std::uint32_t position(const AttentionArguments& a, std::uint32_t sequence, std::uint32_t j) {
    return a.positions[a.sequence_starts[sequence] + j];
  }
  static SIMT_DEVICE float element(const AttentionArguments& a, std::uint32_t sequence, std::uint32_t head,
                                   std::uint32_t j, std::uint32_t i, bool is_value) {
    const std::uint32_t row = a.sequence_starts[sequence] + j;
    return is_value ? row_of(a.values, row)[head * a.value_stride + i] : row_of(a.keys, row)[head * a.key_width + i];
  }
};

// ---- Scores

SIMT_DEVICE bool is_visible(const AttentionArguments& a, std::uint32_t query, std::uint32_t key) {
  if (a.causal && key > query) return false;
  if (a.chunked) return key >= query - query % a.window;
  return !a.window || (key > query ? key - query : query - key) < a.window;
}

// ALiBi (arXiv 2108.12409, section 3) and the table of relative positions.
SIMT_DEVICE float position_bias(const AttentionArguments& a, std::uint32_t head, std::uint32_t query,
                                std::uint32_t key) {
  float bias = 0;
  const std::int32_t distance = static_cast<std::int32_t>(key - query);
  if (a.alibi_bias != 0) {
    std::uint32_t n = 1;
    while (n * 2 <= a.heads) n *= 2;
    const float exponent = head < n ? a.alibi_bias * static_cast<float>(head + 1) / static_cast<float>(n)
                                    : a.alibi_bias * static_cast<float>(2 * (head - n) + 1) / static_cast<float>(2 * n);
    bias = -exp2f(-exponent) * fabsf(static_cast<float>(distance));
  }
  if (a.bias) {
    const std::int32_t reach = static_cast<std::int32_t>(a.bias_reach);
    const std::int32_t cut = distance < -reach ? -reach : distance > reach ? reach : distance;
    bias = bias + a.bias[head * (2 * a.bias_reach + 1) + static_cast<std::uint32_t>(cut + reach)];
  }
  return bias;
}

// ---- The running state of a query, and how two are folded

struct Softmax {
  float peak = -INFINITY, sum = 0;
};
// What both sides are multiplied by when the later state `b` is folded into `a`, which becomes the whole.
struct Factors {
  float a, b;
};
SIMT_DEVICE Factors fold(Softmax& a, const Softmax& b) {
  if (b.sum == 0) return {1, 0};  // nothing visible: changes nothing
  const float peak = fmaxf(a.peak, b.peak);
  const Factors by{a.sum == 0 ? 0.0f : expf(a.peak - peak), expf(b.peak - peak)};
  a.sum = fmaf(b.sum, by.b, a.sum * by.a);
  a.peak = peak;
  return by;
}
SIMT_DEVICE float fold(float a, float b, const Factors& by) { return fmaf(b, by.b, a * by.a); }

// The end of a row: the sink takes its share, then the mix is divided by the sum.
SIMT_DEVICE float finish(const AttentionArguments& a, std::uint32_t head, Softmax state, float mixed) {
  if (a.sinks) {
    const Factors by = fold(state, {a.sinks[head], 1});
    mixed = mixed * by.a;
  }
  return state.sum > 0 ? mixed / state.sum : 0.0f;
}

SIMT_DEVICE std::uint64_t partial_of(const AttentionArguments& a, std::uint32_t row, std::uint32_t head,
                                     std::uint32_t split) {
  return ((static_cast<std::uint64_t>(row) * a.heads + head) * a.splits + split) * (a.value_width + 2);
}

// First key that any of the rows [row, row + rows) sees, and one past the last.
SIMT_DEVICE void visible_keys(const AttentionArguments& a, std::uint32_t row, std::uint32_t rows, std::uint32_t& first,
                              std::uint32_t& keys) {
  if (a.cache.base == nullptr) return;  // positions are not places there
  std::uint32_t earliest = 0xffffffffu, latest = 0;
  for (std::uint32_t r = row; r < row + rows; ++r) {
    earliest = a.positions[r] < earliest ? a.positions[r] : earliest;
    latest = a.positions[r] > latest ? a.positions[r] : latest;
  }
  if (a.chunked)
    first = earliest - earliest % a.window;
  else if (a.window && earliest >= a.window)
    first = earliest - a.window + 1;
  if (a.causal && latest + 1 < keys) keys = latest + 1;
}

// The query heads of a block: up to `most` of those that share a key head.
struct HeadGroup {
  std::uint32_t kv_head, first, count;
};
SIMT_DEVICE HeadGroup head_group(const AttentionArguments& a, std::uint32_t most) {
  const std::uint32_t group = a.heads / a.kv_heads, groups = (group + most - 1) / most;
  const std::uint32_t kv_head = simt::block_y() / groups, part = simt::block_y() % groups * most;
  return {kv_head, kv_head * group + part, group - part < most ? group - part : most};
}

// Calls of(row, rows, sequence) for the block's rows: a tile of them may hold the end of one sequence and the start of
// others.
template <class Of>
SIMT_DEVICE void for_each_sequence(const AttentionArguments& a, Of&& of) {
  const std::uint32_t rows = *a.count, first = simt::block_z() * a.tile_rows;
  const std::uint32_t last = first + a.tile_rows < rows ? first + a.tile_rows : rows;
  for (std::uint32_t row = first; row < last;) {
    const std::uint32_t sequence = a.row_sequences[row], sequence_end = a.sequence_starts[sequence + 1];
    const std::uint32_t end = sequence_end > row && sequence_end < last ? sequence_end : last;
    of(row, end - row, sequence);
    row = end;
  }
}

// One block: the queries of some rows of one sequence and some heads of one key head, over splits [first, first +
// count). kWidth bounds the widths of keys and values; a thread mixes the value columns thread, thread + 128, ...
template <class Keys, std::uint32_t kWidth, bool kManySplits>
struct AttentionBlock {
  static constexpr std::uint32_t kColumns = (kWidth + kAttentionThreads - 1) / kAttentionThreads;
  static constexpr std::uint32_t kTileColumns = kTileColumnsOf<kWidth>;
  static constexpr std::uint32_t kWarps = kAttentionThreads / simt::kLanes;
  const AttentionArguments& a;
  const simt::Shared<float>&queries, &tile, &weights, &peaks, &sums, &factors;
  std::uint32_t kv_head, first_head, heads;  // of this block

  struct Mix {
    float of[kQueries][kColumns];
    SIMT_DEVICE void clear() {
      SIMT_UNROLL for (std::uint32_t q = 0; q < kQueries; ++q) SIMT_UNROLL for (std::uint32_t c = 0; c < kColumns; ++c)
          of[q][c] = 0;
    }
  };

  SIMT_DEVICE void load_queries(std::uint32_t row, std::uint32_t count) const {
    for (std::uint32_t q = simt::warp(); q < count; q += kAttentionThreads / simt::kLanes)
      for (std::uint32_t i = simt::lane(); i < a.key_width; i += simt::kLanes)
        queries[q * kWidth + i] = row_of(a.q, row + q / heads)[(first_head + q % heads) * a.key_width + i];
  }
  // Columns [column, column + kTileColumns) of the keys or values, for all to see.
  SIMT_DEVICE void load_tile(std::uint32_t sequence, std::uint32_t first, std::uint32_t keys, std::uint32_t column,
                             bool is_value) const {
    const std::uint32_t width = is_value ? a.value_width : a.key_width;
    const std::uint32_t end = width - column < kTileColumns ? width - column : kTileColumns;
    simt::barrier();
    for (std::uint32_t j = simt::warp(); j < kTileTokens; j += kWarps)
      for (std::uint32_t i = simt::lane(); i < end; i += simt::kLanes)
        tile[j * (kTileColumns + 1) + i] =
            first + j < keys ? Keys::element(a, sequence, kv_head, first + j, column + i, is_value) : 0.0f;
    simt::barrier();
  }

  // A warp a query, a lane a key: scores, their maximum, the weights of the tile.
  SIMT_DEVICE void score(std::uint32_t row, std::uint32_t count, std::uint32_t sequence, std::uint32_t first,
                         std::uint32_t keys) const {
    float dots[kQueries / kWarps];
    SIMT_UNROLL for (std::uint32_t n = 0; n < kQueries / kWarps; ++n) dots[n] = 0;
    for (std::uint32_t column = 0; column < a.key_width; column += kTileColumns) {
      load_tile(sequence, first, keys, column, false);
      const std::uint32_t end = a.key_width - column < kTileColumns ? a.key_width - column : kTileColumns;
      SIMT_UNROLL for (std::uint32_t n = 0; n < kQueries / kWarps; ++n) {
        const std::uint32_t q = simt::warp() + n * kWarps;
        if (q >= count) continue;
        for (std::uint32_t i = 0; i < end; ++i)
          dots[n] = fmaf(queries[q * kWidth + column + i], tile[simt::lane() * (kTileColumns + 1) + i], dots[n]);
      }
    }
    SIMT_UNROLL for (std::uint32_t n = 0; n < kQueries / kWarps; ++n) {
      const std::uint32_t q = simt::warp() + n * kWarps;
      if (q >= count) continue;
      const std::uint32_t head = first_head + q % heads, position = a.positions[row + q / heads];
      const std::uint32_t j = first + simt::lane();
      float score = -INFINITY;
      if (j < keys) {
        const std::uint32_t at = Keys::position(a, sequence, j);
        if (is_visible(a, position, at)) {
          score = a.scale * dots[n];
          if (a.soft_cap != 0) score = a.soft_cap * tanhf(score / a.soft_cap);
          score = score + position_bias(a, head, position, at);
        }
      }
      Softmax now;
      now.peak = score;
      for (std::uint32_t mask = 16; mask; mask /= 2) now.peak = fmaxf(now.peak, simt::shuffle_xor(now.peak, mask));
      const float weight = score == -INFINITY ? 0.0f : expf(score - now.peak);
      now.sum = weight;
      for (std::uint32_t mask = 16; mask; mask /= 2) now.sum = now.sum + simt::shuffle_xor(now.sum, mask);
      weights[q * kTileTokens + simt::lane()] = weight;
      if (simt::lane() == 0) {
        Softmax before;
        before.peak = peaks[q];
        before.sum = sums[q];
        const Factors by = fold(before, now);
        peaks[q] = before.peak;
        sums[q] = before.sum;
        factors[2 * q] = by.a;
        factors[2 * q + 1] = by.b;
      }
    }
  }

  // The columns of the values that the tile holds, from `first` on.
  SIMT_DEVICE void mix(std::uint32_t count, std::uint32_t first, Mix& mixed) const {
    SIMT_UNROLL for (std::uint32_t c = 0; c < kColumns; ++c) {
      const std::uint32_t column = c * kAttentionThreads + simt::thread();
      if (column >= a.value_width || column < first || column - first >= kTileColumns) continue;
      SIMT_UNROLL for (std::uint32_t q = 0; q < kQueries; ++q) {
        if (q >= count) continue;
        float sum = 0;
        for (std::uint32_t j = 0; j < kTileTokens; ++j)
          sum = fmaf(weights[q * kTileTokens + j], tile[j * (kTileColumns + 1) + column - first], sum);
        mixed.of[q][c] = fold(mixed.of[q][c], sum, {factors[2 * q], factors[2 * q + 1]});
      }
    }
  }

  // The state of each query over one split into peaks, sums and `mixed`.
  SIMT_DEVICE void attend_split(std::uint32_t row, std::uint32_t count, std::uint32_t sequence, std::uint32_t split,
                                std::uint32_t keys, Mix& mixed) const {
    mixed.clear();
    simt::barrier();
    if (simt::thread() < kQueries) {
      peaks[simt::thread()] = -INFINITY;
      sums[simt::thread()] = 0;
    }
    const std::uint32_t end = keys < (split + 1) * kSplitTokens ? keys : (split + 1) * kSplitTokens;
    for (std::uint32_t first = split * kSplitTokens; first < end; first += kTileTokens) {
      score(row, count, sequence, first, keys);
      for (std::uint32_t column = 0; column < a.value_width; column += kTileColumns) {
        load_tile(sequence, first, keys, column, true);
        mix(count, column, mixed);
      }
    }
    simt::barrier();
  }

  SIMT_DEVICE void write_partial(std::uint32_t row, std::uint32_t count, std::uint32_t split, const Mix& mixed) const {
    SIMT_UNROLL for (std::uint32_t q = 0; q < kQueries; ++q) {
      if (q >= count) continue;
      float* to = a.partial + partial_of(a, row + q / heads, first_head + q % heads, split);
      SIMT_UNROLL for (std::uint32_t c = 0; c < kColumns; ++c) {
        const std::uint32_t column = c * kAttentionThreads + simt::thread();
        if (column < a.value_width) to[2 + column] = mixed.of[q][c];
      }
      if (simt::thread() == 0) {
        to[0] = sums[q];
        to[1] = peaks[q];
      }
    }
  }

  SIMT_DEVICE void run(std::uint32_t row, std::uint32_t rows, std::uint32_t sequence) const {
    const std::uint32_t count = rows * heads;
    std::uint32_t keys = Keys::count(a, sequence), first = 0;
    visible_keys(a, row, rows, first, keys);
    load_queries(row, count);
    Mix mixed;
    if (kManySplits) {
      const std::uint32_t split = simt::block_x();
      const bool any = split * kSplitTokens < keys && (split + 1) * kSplitTokens > first;
      attend_split(row, count, sequence, split, any ? keys : 0, mixed);
      write_partial(row, count, split, mixed);
      return;
    }
    Mix total;
    total.clear();
    Softmax states[kQueries];
    for (std::uint32_t split = first / kSplitTokens; split * kSplitTokens < keys; ++split) {
      attend_split(row, count, sequence, split, keys, mixed);
      SIMT_UNROLL for (std::uint32_t q = 0; q < kQueries; ++q) {
        if (q >= count) continue;
        Softmax now;
        now.peak = peaks[q];
        now.sum = sums[q];
        const Factors by = fold(states[q], now);
        SIMT_UNROLL for (std::uint32_t c = 0; c < kColumns; ++c) total.of[q][c] =
            fold(total.of[q][c], mixed.of[q][c], by);
      }
    }
    SIMT_UNROLL for (std::uint32_t q = 0; q < kQueries; ++q) {
      if (q >= count) continue;
      const std::uint32_t head = first_head + q % heads;
      float* to = row_of(a.out, row + q / heads) + head * a.value_width;
      SIMT_UNROLL for (std::uint32_t c = 0; c < kColumns; ++c) {
        const std::uint32_t column = c * kAttentionThreads + simt::thread();
        if (column < a.value_width) to[column] = finish(a, head, states[q], total.of[q][c]);
      }
    }
  }
};

// Grid: splits (1 where one block walks them), key heads x groups of up to kQueries of their query heads, tiles of
// rows.
template <class Keys, std::uint32_t kWidth, bool kManySplits>
SIMT_KERNEL(kAttentionThreads)
attention(const AttentionArguments a) {
  if (simt::block_z() * a.tile_rows >= *a.count) return;
  SIMT_SHARED(float, queries, kQueries* kWidth);
  SIMT_SHARED(float, tile, kTileTokens*(kTileColumnsOf<kWidth> + 1));
  SIMT_SHARED(float, weights, kQueries* kTileTokens);
  SIMT_SHARED(float, peaks, kQueries);
  SIMT_SHARED(float, sums, kQueries);
  SIMT_SHARED(float, factors, 2 * kQueries);
  const HeadGroup group = head_group(a, kQueries);
  const AttentionBlock<Keys, kWidth, kManySplits> block{a,    queries, tile,          weights,     peaks,
                                                        sums, factors, group.kv_head, group.first, group.count};
  for_each_sequence(
      a, [&](std::uint32_t row, std::uint32_t rows, std::uint32_t sequence) { block.run(row, rows, sequence); });
}

// Grid: heads, rows. Folds the splits of a row in order.
SIMT_KERNEL(kAttentionThreads) attention_fold(const AttentionArguments a) {
  const std::uint32_t head = simt::block_x(), row = simt::block_y();
  if (row >= *a.count) return;
  const std::uint32_t keys = a.sequence_lengths[a.row_sequences[row]];
  for (std::uint32_t column = simt::thread(); column < a.value_width; column += kAttentionThreads) {
    Softmax state;
    float mixed = 0;
    for (std::uint32_t split = 0; split < a.splits && split * kSplitTokens < keys; ++split) {
      const float* from = a.partial + partial_of(a, row, head, split);
      Softmax now;
      now.sum = from[0];
      now.peak = from[1];
      const Factors by = fold(state, now);
      mixed = fold(mixed, from[2 + column], by);
    }
    row_of(a.out, row)[head * a.value_width + column] = finish(a, head, state, mixed);
  }
}

}  // namespace nacelle::gpu
