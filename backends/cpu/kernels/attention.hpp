// Attention over keys and values in blocks, written once over the vector vocabulary. Include after a simd_*.hpp of one
// ISA.
//
// The tokens are cut at multiples of kSplitTokens. Inside a split: all scores, their maximum, exponentials, the sum
// over values. Splits are merged left to right. A masked token counts as exactly nothing, so that a query's bits depend
// on neither the queries beside it nor on where a call starts and ends.
#pragma once

#include "backends/cpu/kernels/elementwise.hpp"

namespace nacelle::cpu {
namespace {

struct F32Element {
  using Type = float;
  static F load_lanes(const Type* p) { return load(p); }
  static void store_lanes(Type* p, F x) { store(p, x); }
};
struct F16Element {
  using Type = std::uint16_t;
  static F load_lanes(const Type* p) { return load_f16(p); }
  static void store_lanes(Type* p, F x) { store_f16(p, x); }
};
struct Bf16Element {
  using Type = std::uint16_t;
  static F load_lanes(const Type* p) { return load_bf16(p); }
  static void store_lanes(Type* p, F x) { store_bf16(p, x); }
};

constexpr int kTileVectors = static_cast<int>(kTileTokens) / kLanes;
constexpr std::uint32_t kScoreStride = kSplitTokens + kTileTokens;  // not a power of two: eight rows share no cache set

// Tiles and rows of a view. A block smaller than a tile leaves the tile's other lanes unused.
inline std::uint32_t tile_tokens(const KvView& kv) {
  return kv.block_tokens < kTileTokens ? kv.block_tokens : kTileTokens;
}
template <class Element>
inline typename Element::Type* key_tile(const KvView& kv, std::uint32_t token) {
  std::uint8_t* block = kv.base + kv.table[token / kv.block_tokens] * kv.block_bytes + kv.key_offset;
  const std::uint64_t tile = token % kv.block_tokens / kTileTokens;
  return reinterpret_cast<typename Element::Type*>(block) + tile * kv.key_width * kTileTokens;
}
inline std::uint32_t padded(std::uint32_t width) { return (width + kTileTokens - 1) / kTileTokens * kTileTokens; }
template <class Element>
inline typename Element::Type* value_row(const KvView& kv, std::uint32_t token) {
  std::uint8_t* block = kv.base + kv.table[token / kv.block_tokens] * kv.block_bytes + kv.value_offset;
  return reinterpret_cast<typename Element::Type*>(block) +
         std::uint64_t{token % kv.block_tokens} * padded(kv.value_width);
}

// scores[q][tile * 16 + lane] = scale * query q . key, for kTiles tiles.
template <class Key, int kQueries, int kTiles>
inline void score_tiles(const AttentionCall& call, std::uint32_t query, const typename Key::Type* const (&keys)[kTiles],
                        float* const (&scores)[kTiles]) {
  F sums[kQueries][kTiles * kTileVectors];
  const float* q[kQueries];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
    q[i] = call.queries[query + i];
    for (int v = 0; v < kTiles * kTileVectors; ++v) sums[i][v] = zero();
  }
  for (std::uint32_t d = 0; d < call.kv.key_width; ++d) {
    F lanes[kTiles * kTileVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kTiles * kTileVectors; ++v)
      lanes[v] = Key::load_lanes(keys[v / kTileVectors] + d * kTileTokens + v % kTileVectors * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
      const F value = set(q[i][d]);
#pragma GCC unroll 16
      for (int v = 0; v < kTiles * kTileVectors; ++v) sums[i][v] = fma(lanes[v], value, sums[i][v]);
    }
  }
  const F scale = set(call.scale);
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int v = 0; v < kTiles * kTileVectors; ++v)
      store(scores[v / kTileVectors] + (query + i) * kScoreStride + v % kTileVectors * kLanes, mul(sums[i][v], scale));
}

// Tokens of the split at `start` that any query sees.
struct Range {
  std::uint32_t start, begin, end;
};

template <class Key, int kQueries, int kTiles>
inline std::uint32_t score_some(const AttentionCall& call, std::uint32_t query, const Range& range, std::uint32_t token,
                                float* scores) {
  const std::uint32_t step = tile_tokens(call.kv);
  for (; token + (kTiles - 1) * step < range.end; token += kTiles * step) {
    const typename Key::Type* keys[kTiles];
    float* to[kTiles];
    for (std::uint32_t t = 0; t < kTiles; ++t) {
      keys[t] = key_tile<Key>(call.kv, token + t * step);
      to[t] = scores + (token + t * step - range.start);
    }
    score_tiles<Key, kQueries, kTiles>(call, query, keys, to);
  }
  return token;
}

// Several tiles at once for few queries: enough sums in flight to hide the latency of an addition.
template <class Key, int kQueries>
inline void score_queries(const AttentionCall& call, std::uint32_t query, const Range& range, float* scores) {
  constexpr int kTiles = kLanes == 16 ? 8 / kQueries : kQueries == 1 ? 2 : 1;
  std::uint32_t token = range.begin / tile_tokens(call.kv) * tile_tokens(call.kv);
  if constexpr (kTiles > 1) token = score_some<Key, kQueries, kTiles>(call, query, range, token, scores);
  score_some<Key, kQueries, 1>(call, query, range, token, scores);
}

// Counts are rounded up to what a kernel takes: the queries past the last are valid pointers, their results unused.
template <class Key>
inline void score_split(const AttentionCall& call, const Range& range, float* scores) {
  constexpr std::uint32_t kMost = kLanes == 16 ? 8 : kLanes == 8 ? 4 : 2;
  for (std::uint32_t q = 0; q < call.query_count; q += kMost) {
    const std::uint32_t left = call.query_count - q;
    if (left > kMost / 2)
      score_queries<Key, kMost>(call, q, range, scores);
    else if (left > kMost / 4)
      score_queries<Key, kMost / 2>(call, q, range, scores);
    else if (left > kMost / 8)
      score_queries<Key, kMost >= 4 ? kMost / 4 : 1>(call, q, range, scores);
    else
      score_queries<Key, 1>(call, q, range, scores);
  }
}

// Scores of one query become exp(score - highest), 0 where the token is not seen; returns highest and their sum.
inline LogitSummary weigh(const AttentionCall& call, std::uint32_t q, const Range& range, float* scores) {
  const std::uint32_t size = range.end - range.start;
  const std::uint32_t from = call.begins[q] > range.start ? call.begins[q] - range.start : 0;
  const std::uint32_t to =
      call.ends[q] < range.end ? (call.ends[q] > range.start ? call.ends[q] - range.start : 0) : size;
  const float kNothing = -__builtin_inff();
  for (std::uint32_t i = 0; i < from && i < size; ++i) scores[i] = kNothing;
  for (std::uint32_t i = to; i < padded(size); ++i) scores[i] = kNothing;
  if (call.soft_cap != 0.0f)
    for (std::uint32_t i = from; i < to; ++i) {
      const F y = mul(set(call.soft_cap), tanh(set(scores[i] / call.soft_cap)));
      store_first(scores + i, y, 1);
    }
  if (call.slopes[q] != 0.0f)
    for (std::uint32_t i = from; i < to; ++i)
      scores[i] -= call.slopes[q] * __builtin_fabsf(static_cast<float>(range.start + i) - call.positions[q]);
  const float top = largest_of(scores, padded(size));
  F total = zero();
  const bool any = top > kNothing;
  for (std::uint32_t i = 0; i < padded(size); i += kLanes) {
    const F e = any ? exp(sub(load(scores + i), set(top))) : zero();
    total = add(total, e);
    store(scores + i, e);
  }
  return {top, sum(total)};
}

// sums[q] = weights x values, over kVectors vectors of the value's columns from `column`.
template <class Value, int kQueries, int kVectors>
inline void blend_columns(const AttentionCall& call, std::uint32_t query, const Range& range, const float* weights,
                          std::uint32_t column, float* sums, std::uint32_t width) {
  F totals[kQueries][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int v = 0; v < kVectors; ++v) totals[i][v] = zero();
  const float* w = weights + query * kScoreStride - range.start;
  for (std::uint32_t token = range.begin; token < range.end;) {
    const std::uint32_t block_end = (token / call.kv.block_tokens + 1) * call.kv.block_tokens;
    const std::uint32_t last = block_end < range.end ? block_end : range.end;
    const typename Value::Type* row = value_row<Value>(call.kv, token) + column;
    for (; token < last; ++token, row += width) {
      F lanes[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) lanes[v] = Value::load_lanes(row + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        const F weight = set(w[i * kScoreStride + token]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) totals[i][v] = fma(lanes[v], weight, totals[i][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int v = 0; v < kVectors; ++v) store(sums + (query + i) * width + column + v * kLanes, totals[i][v]);
}

template <class Value, int kQueries>
inline void blend_queries(const AttentionCall& call, std::uint32_t query, const Range& range, const float* weights,
                          float* sums) {
  constexpr int kVectors = kLanes == 16 ? (kQueries == 8 ? 2 : 4) : kQueries <= 2 ? 4 : 2;
  const std::uint32_t width = padded(call.kv.value_width);
  std::uint32_t column = 0;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes)
    blend_columns<Value, kQueries, kVectors>(call, query, range, weights, column, sums, width);
  for (; column < width; column += kLanes)
    blend_columns<Value, kQueries, 1>(call, query, range, weights, column, sums, width);
}

template <class Value>
inline void blend_split(const AttentionCall& call, const Range& range, const float* weights, float* sums) {
  constexpr std::uint32_t kMost = kLanes == 16 ? 8 : kLanes == 8 ? 4 : 2;
  for (std::uint32_t q = 0; q < call.query_count; q += kMost) {
    const std::uint32_t left = call.query_count - q;
    if (left > kMost / 2)
      blend_queries<Value, kMost>(call, q, range, weights, sums);
    else if (left > kMost / 4)
      blend_queries<Value, kMost / 2>(call, q, range, weights, sums);
    else if (left > kMost / 8)
      blend_queries<Value, kMost >= 4 ? kMost / 4 : 1>(call, q, range, weights, sums);
    else
      blend_queries<Value, 1>(call, q, range, weights, sums);
  }
}

// What a query has gathered so far: total = sum of exp(score - highest), `sums` likewise weighted.
struct Gathered {
  float highest = -__builtin_inff();
  float total = 0.0f;
};

inline void merge(Gathered& to, float* to_sums, const LogitSummary& from, const float* from_sums, std::uint32_t width) {
  if (from.highest == -__builtin_inff()) return;
  const float top = from.highest > to.highest ? from.highest : to.highest;
  const float keep = exp1(to.highest - top), take = exp1(from.highest - top);
  to.highest = top;
  to.total = to.total * keep + from.sum * take;
  for (std::uint32_t i = 0; i < width; i += kLanes) {
    const F kept = mul(load(to_sums + i), set(keep));
    store(to_sums + i, from_sums ? fma(load(from_sums + i), set(take), kept) : kept);
  }
}

template <class Key, class Value>
void attend(const AttentionCall& call) {
  const std::uint32_t width = padded(call.kv.value_width);
  float* scores = call.scratch;
  float* sums = scores + kMaxQueries * kScoreStride;
  float* outputs = sums + kMaxQueries * width;
  Gathered gathered[kMaxQueries];
  for (std::uint32_t i = 0; i < call.query_count * width; i += kLanes) store(outputs + i, zero());
  std::uint32_t begin = call.begins[0], end = call.ends[0];
  for (std::uint32_t q = 1; q < call.query_count; ++q) {
    begin = call.begins[q] < begin ? call.begins[q] : begin;
    end = call.ends[q] > end ? call.ends[q] : end;
  }
  for (std::uint32_t start = begin / kSplitTokens * kSplitTokens; start < end; start += kSplitTokens) {
    const std::uint32_t stop = start + kSplitTokens < end ? start + kSplitTokens : end;
    const Range range{start, begin > start ? begin : start, stop};
    score_split<Key>(call, range, scores);
    LogitSummary summary[kMaxQueries];
    for (std::uint32_t q = 0; q < call.query_count; ++q) summary[q] = weigh(call, q, range, scores + q * kScoreStride);
    blend_split<Value>(call, range, scores, sums);
    for (std::uint32_t q = 0; q < call.query_count; ++q)
      merge(gathered[q], outputs + q * width, summary[q], sums + q * width, width);
  }
  for (std::uint32_t q = 0; q < call.query_count; ++q) {
    merge(gathered[q], outputs + q * width, {call.sinks[q], 1.0f}, nullptr, width);
    scale_vector(outputs + q * width, 1.0f / gathered[q].total, 0.0f, 0.0f, call.kv.value_width, call.outputs[q]);
  }
}

template <class Key, class Value>
void store_token(const KvView& kv, std::uint32_t position, const float* key, const float* value) {
  typename Key::Type* keys = key_tile<Key>(kv, position) + position % kv.block_tokens % kTileTokens;
  for (std::uint32_t d = 0; d < kv.key_width; d += kLanes) {
    typename Key::Type lanes[kLanes];
    const std::uint32_t count = kv.key_width - d < kLanes ? kv.key_width - d : kLanes;
    Key::store_lanes(lanes, load_some(key + d, count));
    for (std::uint32_t i = 0; i < count; ++i) keys[(d + i) * kTileTokens] = lanes[i];
  }
  typename Value::Type* row = value_row<Value>(kv, position);
  for (std::uint32_t e = 0; e < padded(kv.value_width); e += kLanes) {
    const std::uint32_t left = kv.value_width > e ? kv.value_width - e : 0;
    Value::store_lanes(row + e, left == 0 ? zero() : load_some(value + e, left < kLanes ? left : kLanes));
  }
}

template <class Key, class Value>
constexpr AttentionVariant variant(std::uint32_t key, std::uint32_t value) {
  return {key, value, attend<Key, Value>, store_token<Key, Value>};
}

const AttentionVariant kAttentionVariants[] = {
    variant<F32Element, F32Element>(NACELLE_TYPE_F32, NACELLE_TYPE_F32),
    variant<F16Element, F16Element>(NACELLE_TYPE_F16, NACELLE_TYPE_F16),
    variant<Bf16Element, Bf16Element>(NACELLE_TYPE_BF16, NACELLE_TYPE_BF16),
};

}  // namespace
}  // namespace nacelle::cpu
