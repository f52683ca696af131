// Attention over keys and values in blocks, written once over the vector vocabulary. Include after a simd_*.hpp of one
// ISA.
//
// The tokens are cut at multiples of kSplitTokens. Inside a split: all scores, their maximum, exponentials, the sum
// over values. Splits are merged left to right. A masked token counts as exactly nothing, so that a query's bits depend
// on neither the queries beside it nor on where a call starts and ends.
#pragma once

#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/hints.hpp"
#include "backends/cpu/kernels/kv_elements.hpp"

namespace nacelle::cpu {
namespace {

constexpr int kTileVectors = static_cast<int>(kTileTokens) / kLanes;
constexpr std::uint32_t kScoreStride = kSplitTokens + kTileTokens;  // not a power of two: eight rows share no cache set

// A block smaller than a tile leaves the tile's other lanes unused.
inline std::uint32_t tile_tokens(const KvView& kv) {
  return kv.block_tokens < kTileTokens ? kv.block_tokens : kTileTokens;
}

// scores[q][tile * 16 + lane] = scale * query q . key, for kTiles tiles; `next`: what will be read after them, as many
// bytes a tile, fetched meanwhile, since no processor guesses where the next block lies: into L2, in the order of
// memory, so that the processor's own fetching ahead joins in and a thread reads half as much again.
template <class Key, int kQueries, int kTiles>
inline void score_tiles(const AttentionCall& call, std::uint32_t query, const std::uint8_t* const (&keys)[kTiles],
                        const std::uint8_t* const (&next)[kTiles], float* const (&scores)[kTiles]) {
  const std::uint64_t tile_bytes = call.kv.key_tile_bytes;
  const std::uint64_t column_lines = (kTiles * tile_bytes / 64 + call.kv.key_width - 1) / call.kv.key_width;
  std::uint64_t ahead = 0;
  int ahead_tile = 0;
  F sums[kQueries][kTiles * kTileVectors];
  const float* q[kQueries];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
    q[i] = call.queries[query + i].q;
    for (int v = 0; v < kTiles * kTileVectors; ++v) sums[i][v] = zero();
  }
  for (std::uint32_t d = 0; d < call.kv.key_width; ++d) {
    F lanes[kTiles * kTileVectors];
    for (std::uint64_t line = 0; line < column_lines && ahead_tile < kTiles; ++line) {
      prefetch<Cache::kL2>(next[ahead_tile] + ahead);
      ahead += 64;
      if (ahead >= tile_bytes) ahead = 0, ++ahead_tile;
    }
#pragma GCC unroll 16
    for (int v = 0; v < kTiles * kTileVectors; ++v)
      lanes[v] = Key::key(keys[v / kTileVectors], call.kv.key_width, d, v % kTileVectors);
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

template <class Key, int kQueries, int kTiles>
inline std::uint32_t score_some(const AttentionCall& call, std::uint32_t query, const TokenRange& range,
                                std::uint32_t token, float* scores) {
  const std::uint32_t step = tile_tokens(call.kv);
  for (; token + (kTiles - 1) * step < range.end; token += kTiles * step) {
    const std::uint8_t *keys[kTiles], *next[kTiles];
    float* to[kTiles];
    for (std::uint32_t t = 0; t < kTiles; ++t) {
      const std::uint32_t at = token + t * step, after = at + kTiles * step;
      const std::uint32_t value = range.begin + t * step < range.end ? range.begin + t * step : range.begin;
      keys[t] = key_tile(call.kv, at);
      next[t] = after < range.end ? key_tile(call.kv, after) : value_row(call.kv, value);
      to[t] = scores + (at - range.start);
    }
    score_tiles<Key, kQueries, kTiles>(call, query, keys, next, to);
  }
  return token;
}

// Several tiles at once: enough sums in flight to hide the latency of an addition, and with many queries as many as
// there are registers, so that what is loaded serves more products.
template <class Key, int kQueries>
inline void score_queries(const AttentionCall& call, std::uint32_t query, const TokenRange& range, float* scores) {
  constexpr int kTiles = kLanes == 16 ? (kQueries == 8 ? 3 : 4) : kQueries == 1 ? 2 : 1;
  std::uint32_t token = range.begin / tile_tokens(call.kv) * tile_tokens(call.kv);
  if constexpr (kTiles > 1) token = score_some<Key, kQueries, kTiles>(call, query, range, token, scores);
  if constexpr (kTiles == 3) token = score_some<Key, kQueries, 2>(call, query, range, token, scores);
  score_some<Key, kQueries, 1>(call, query, range, token, scores);
}

// Counts are rounded up to what a kernel takes: the queries past the last are valid pointers, their results unused.
template <class Key>
void score_split(const AttentionCall& call, const TokenRange& range, float* scores) {
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

// What is added to the scores of one query because of where the tokens stand.
inline void add_biases(const AttentionCall& call, const Query& query, std::uint32_t start, std::uint32_t from,
                       std::uint32_t to, float* scores) {
  const std::int64_t reach = call.reach;
  for (std::uint32_t i = from; i < to; ++i) {
    std::int64_t distance = static_cast<std::int64_t>(start) + i - query.position;
    scores[i] -= query.slope * __builtin_fabsf(static_cast<float>(distance));
    if (!query.bias) continue;
    distance = distance < -reach ? -reach : distance > reach ? reach : distance;
    scores[i] += query.bias[distance + reach];
  }
}

inline void cap_scores(float cap, std::uint32_t from, std::uint32_t to, float* scores) {
  for_vectors(to - from, [&](std::uint32_t i, std::uint32_t count) {
    const F y = mul(set(cap), tanh(div(load_some(scores + from + i, count), set(cap))));
    store_some(scores + from + i, y, count);
  });
}

// Scores of one query become exp(score - highest), 0 where the token is not seen; returns highest and their sum.
inline LogitSummary weigh(const AttentionCall& call, const Query& query, const TokenRange& range, float* scores) {
  const auto inside = [&](std::uint32_t token) {
    return token < range.start ? 0u : (token > range.end ? range.end : token) - range.start;
  };
  const std::uint32_t size = range.end - range.start, whole = static_cast<std::uint32_t>(padded(size));
  const std::uint32_t from = inside(query.begin), to = inside(query.end);
  const float kNothing = -__builtin_inff();
  for (std::uint32_t i = 0; i < from; ++i) scores[i] = kNothing;
  for (std::uint32_t i = to; i < whole; ++i) scores[i] = kNothing;
  if (call.soft_cap != 0.0f && from < to) cap_scores(call.soft_cap, from, to, scores);
  if (query.slope != 0.0f || query.bias) add_biases(call, query, range.start, from, to, scores);
  const float top = largest_of(scores, whole);
  F total = zero();
  const bool any = top > kNothing;
  for (std::uint32_t i = 0; i < whole; i += kLanes) {
    const F e = any ? exp(sub(load(scores + i), set(top))) : zero();
    total = add(total, e);
    store(scores + i, e);
  }
  return {top, sum(total)};
}

// sums[q] = weights x values, over kVectors vectors of the value's columns from `column`.
template <class Value, int kQueries, int kVectors>
inline void blend_columns(const AttentionCall& call, std::uint32_t query, const TokenRange& range, const float* weights,
                          std::uint32_t column, float* sums, std::uint32_t width) {
  F totals[kQueries][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int v = 0; v < kVectors; ++v) totals[i][v] = zero();
  const float* w = weights + query * kScoreStride - range.start;
  for (std::uint32_t token = range.begin; token < range.end;) {
    const std::uint32_t block_end = (token / call.kv.block_tokens + 1) * call.kv.block_tokens;
    const std::uint32_t last = block_end < range.end ? block_end : range.end;
    const std::uint8_t* row = value_row(call.kv, token);
    const std::uint8_t* next = last < range.end ? value_row(call.kv, last) : key_tile(call.kv, range.next);
    for (; token < last; ++token, row += call.kv.value_row_bytes, next += call.kv.value_row_bytes) {
      if (column == 0)
        for (std::uint64_t at = 0; at < call.kv.value_row_bytes; at += 64) prefetch<Cache::kL2>(next + at);
      F lanes[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) lanes[v] = Value::value(row, call.kv.value_width, column + v * kLanes);
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
inline void blend_queries(const AttentionCall& call, std::uint32_t query, const TokenRange& range, const float* weights,
                          float* sums) {
  constexpr int kVectors = kLanes == 16 ? (kQueries == 8 ? 3 : 4) : kQueries <= 2 ? 4 : 2;
  const auto width = static_cast<std::uint32_t>(padded(call.kv.value_width));
  std::uint32_t column = 0;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes)
    blend_columns<Value, kQueries, kVectors>(call, query, range, weights, column, sums, width);
  if constexpr (kVectors == 3)
    for (; column + 2 * kLanes <= width; column += 2 * kLanes)
      blend_columns<Value, kQueries, 2>(call, query, range, weights, column, sums, width);
  for (; column < width; column += kLanes)
    blend_columns<Value, kQueries, 1>(call, query, range, weights, column, sums, width);
}

template <class Value>
void blend_split(const AttentionCall& call, const TokenRange& range, const float* weights, float* sums) {
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

// Lanes [from, to) of x; zero in the others, whatever they hold.
inline F keep_lanes(F x, std::uint32_t from, std::uint32_t to) {
  const F kept = to < kLanes ? keep_first(x, to, zero()) : x;
  return from ? keep_first(zero(), from, kept) : kept;
}

// The same as blend_columns where values are the first columns of keys: a lane sums its tokens, then the lanes are
// added.
template <class Key, int kQueries, int kColumns>
inline void blend_key_columns(const AttentionCall& call, std::uint32_t query, const TokenRange& range,
                              const float* weights, std::uint32_t column, float* sums, std::uint32_t width) {
  F totals[kQueries][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int c = 0; c < kColumns; ++c) totals[i][c] = zero();
  const std::uint32_t step = tile_tokens(call.kv);
  const float* w = weights + query * kScoreStride;
  for (std::uint32_t token = range.begin / step * step; token < range.end; token += step) {
    const std::uint8_t* tile = key_tile(call.kv, token);
    const std::uint32_t from = token < range.begin ? range.begin - token : 0;
    const std::uint32_t to = range.end - token < step ? range.end - token : step;
    const bool all = from == 0 && to == kTileTokens;
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) {
      const std::uint32_t first = static_cast<std::uint32_t>(v) * kLanes;
      const std::uint32_t skip = from > first ? from - first : 0, end = to > first ? to - first : 0;
      if (!all && (end == 0 || skip >= kLanes)) continue;
      F lanes[kColumns];
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        lanes[c] = Key::key(tile, call.kv.key_width, column + static_cast<std::uint32_t>(c), v);
        if (!all) lanes[c] = keep_lanes(lanes[c], skip, end);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        F weight = load(w + i * kScoreStride + (token - range.start) + first);
        if (!all) weight = keep_lanes(weight, skip, end);
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) totals[i][c] = fma(lanes[c], weight, totals[i][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i)
    for (int c = 0; c < kColumns; ++c)
      sums[(query + i) * width + column + static_cast<std::uint32_t>(c)] = sum(totals[i][c]);
}

template <class Key, int kQueries>
inline void blend_keys_of(const AttentionCall& call, std::uint32_t query, const TokenRange& range, const float* weights,
                          float* sums) {
  constexpr int kColumns = kLanes == 16 ? (kQueries == 8 ? 2 : 4) : kQueries <= 2 ? 4 : 2;
  const auto width = static_cast<std::uint32_t>(padded(call.kv.value_width));
  std::uint32_t column = 0;
  for (; column + kColumns <= call.kv.value_width; column += kColumns)
    blend_key_columns<Key, kQueries, kColumns>(call, query, range, weights, column, sums, width);
  for (; column < call.kv.value_width; ++column)
    blend_key_columns<Key, kQueries, 1>(call, query, range, weights, column, sums, width);
  for (int i = 0; i < kQueries; ++i)
    for (column = call.kv.value_width; column < width; ++column) sums[(query + i) * width + column] = 0.0f;
}

template <class Key>
void blend_keys(const AttentionCall& call, const TokenRange& range, const float* weights, float* sums) {
  constexpr std::uint32_t kMost = kLanes == 16 ? 8 : kLanes == 8 ? 4 : 2;
  std::uint32_t q = 0;
  for (; call.query_count - q > kMost / 2; q += kMost) {
    blend_keys_of<Key, kMost>(call, q, range, weights, sums);
    if (call.query_count - q <= kMost) return;
  }
  for (; q < call.query_count; ++q) blend_keys_of<Key, 1>(call, q, range, weights, sums);
}

// What a query has gathered so far: total = sum of exp(score - highest), `sums` likewise weighted.
struct Gathered {
  float highest = -__builtin_inff();
  float total = 0.0f;
};

inline void merge(Gathered& to, float* to_sums, const LogitSummary& from, const float* from_sums, std::uint32_t width) {
  if (from.highest == -__builtin_inff()) return;
  const float top = from.highest > to.highest ? from.highest : to.highest;
  const auto share = [&](float highest) {  // exp(highest - top), whose commonest values need no work
    return highest == top ? 1.0f : highest == -__builtin_inff() ? 0.0f : exp1(highest - top);
  };
  const float keep = share(to.highest), take = share(from.highest);
  to.highest = top;
  to.total = to.total * keep + from.sum * take;
  for (std::uint32_t i = 0; i < width; i += kLanes) {
    const F kept = mul(load(to_sums + i), set(keep));
    store(to_sums + i, from_sums ? fma(load(from_sums + i), set(take), kept) : kept);
  }
}

// A call's scratch, and the tokens that any of its queries sees.
struct Pass {
  const AttentionCall& call;
  std::uint32_t width, begin, end;  // width: padded, of values
  float *scores, *sums, *outputs;   // sums: of the latest split; outputs: of all so far
  LogitSummary summaries[kMaxQueries];

  explicit Pass(const AttentionCall& of) : call(of), width(static_cast<std::uint32_t>(padded(of.kv.value_width))) {
    scores = call.scratch;
    sums = scores + kMaxQueries * kScoreStride;
    outputs = sums + kMaxQueries * width;
    begin = call.queries[0].begin;
    end = call.queries[0].end;
    for (std::uint32_t q = 1; q < call.query_count; ++q) {
      begin = call.queries[q].begin < begin ? call.queries[q].begin : begin;
      end = call.queries[q].end > end ? call.queries[q].end : end;
    }
  }

  // False: nobody sees any of the split that starts at `start`.
  bool run_split(std::uint32_t start) {
    const std::uint32_t stop = start + kSplitTokens < end ? start + kSplitTokens : end;
    const std::uint32_t first = begin > start ? begin : start;
    if (first >= stop) return false;
    const TokenRange range{start, first, stop, stop < end ? stop : first};
    call.keys->score(call, range, scores);
    for (std::uint32_t q = 0; q < call.query_count; ++q)
      summaries[q] = weigh(call, call.queries[q], range, scores + q * kScoreStride);
    call.values->blend(call, range, scores, sums);
    return true;
  }
};

// The sink counts as one more token, whose value is nothing.
inline void finish(Gathered& gathered, float* sums, float sink, std::uint32_t value_width, float* out) {
  merge(gathered, sums, {sink, 1.0f}, nullptr, static_cast<std::uint32_t>(padded(value_width)));
  scale_vector(sums, 1.0f / gathered.total, 0.0f, 0.0f, value_width, out);
}

void attend(const AttentionCall& call) {
  Pass pass(call);
  Gathered gathered[kMaxQueries];
  for (std::uint32_t i = 0; i < call.query_count * pass.width; i += kLanes) store(pass.outputs + i, zero());
  for (std::uint32_t start = pass.begin / kSplitTokens * kSplitTokens; start < pass.end; start += kSplitTokens) {
    pass.run_split(start);
    for (std::uint32_t q = 0; q < call.query_count; ++q)
      merge(gathered[q], pass.outputs + q * pass.width, pass.summaries[q], pass.sums + q * pass.width, pass.width);
  }
  for (std::uint32_t q = 0; q < call.query_count; ++q)
    finish(gathered[q], pass.outputs + q * pass.width, call.queries[q].sink, call.kv.value_width, call.queries[q].out);
}

void attend_split(const AttentionCall& call, std::uint32_t start) {
  Pass pass(call);
  const bool any = pass.run_split(start);
  for (std::uint32_t q = 0; q < call.query_count; ++q) {
    float* to = call.queries[q].out;
    to[pass.width] = any ? pass.summaries[q].highest : -__builtin_inff();
    to[pass.width + 1] = any ? pass.summaries[q].sum : 0.0f;
    for (std::uint32_t i = 0; any && i < pass.width; i += kLanes) store(to + i, load(pass.sums + q * pass.width + i));
  }
}

void merge_splits(const float* partials, std::uint32_t count, std::uint64_t stride, float sink,
                  std::uint32_t value_width, float* scratch, float* out) {
  const auto width = static_cast<std::uint32_t>(padded(value_width));
  Gathered gathered;
  for (std::uint32_t i = 0; i < width; i += kLanes) store(scratch + i, zero());
  for (std::uint32_t i = 0; i < count; ++i, partials += stride)
    merge(gathered, scratch, {partials[width], partials[width + 1]}, partials, width);
  finish(gathered, scratch, sink, value_width, out);
}

template <class Kv>
constexpr KeyKernels key_kernels() {
  return {Kv::kType, score_split<Kv>, Kv::store_keys};
}
template <class Kv>
constexpr ValueKernels value_kernels() {
  return {Kv::kType, blend_split<Kv>, Kv::store_values};
}
const KeyKernels kKeyKernels[] = {key_kernels<Plain<F32Kv>>(), key_kernels<Plain<F16Kv>>(),
                                  key_kernels<Plain<Bf16Kv>>(), key_kernels<Quantised<Q8Kv>>(),
                                  key_kernels<Quantised<Q4Kv>>()};
const ValueKernels kValueKernels[] = {value_kernels<Plain<F32Kv>>(), value_kernels<Plain<F16Kv>>(),
                                      value_kernels<Plain<Bf16Kv>>(), value_kernels<Quantised<Q8Kv>>(),
                                      value_kernels<Quantised<Q4Kv>>()};
template <class Kv>
constexpr ValueKernels alias_kernels() {
  return {Kv::kType, blend_keys<Kv>, nullptr};
}
const ValueKernels kAliasKernels[] = {alias_kernels<Plain<F32Kv>>(), alias_kernels<Plain<F16Kv>>(),
                                      alias_kernels<Plain<Bf16Kv>>(), alias_kernels<Quantised<Q8Kv>>(),
                                      alias_kernels<Quantised<Q4Kv>>()};
const AttentionKernels kAttentionKernels = {attend,
                                            attend_split,
                                            merge_splits,
                                            kKeyKernels,
                                            kValueKernels,
                                            kAliasKernels,
                                            sizeof kKeyKernels / sizeof *kKeyKernels};

}  // namespace
}  // namespace nacelle::cpu
