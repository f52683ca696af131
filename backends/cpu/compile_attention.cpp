// Attention: this step's keys and values are stored first, a row at a time; then all queries read what is stored, this
// step's rows like those of earlier steps. Without a cache the store is a piece of the arena, one block after another.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <nacelle/attention.hpp>
#include <numeric>
#include <tuple>

#include "backends/cpu/cache.hpp"
#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {
namespace {

// ALiBi (arXiv 2108.12409, section 3): a geometric series from 2^(-max/n); heads beyond the largest power of two take
// every other slope of the series twice as fine.
float alibi_slope(double max_bias, std::uint32_t head, std::uint32_t head_count) {
  std::uint32_t n = 1;
  while (n * 2 <= head_count) n *= 2;
  const double power = head < n ? -max_bias * (head + 1) / n : -max_bias / 2 * (2 * (head - n) + 1) / n;
  return static_cast<float>(std::exp2(power));
}

}  // namespace

// What both halves of an attention need to know. Blocks lie in the cache group, or from `own` on.
struct Compiler::KvMemory {
  KvShape shape;
  std::uint32_t group, layer, layers;
  const Place* own = nullptr;

  // Without a cache sequence s starts at block starts[s] / block_tokens + s: no two sequences then share a block.
  KvView view(const Frame& frame, std::uint32_t sequence, std::uint32_t head) const {
    if (own)
      return shape.view(frame.at<std::byte>(*own, 0),
                        frame.identity + frame.sequence_starts[sequence] / shape.block_tokens + sequence, 0, 1, head);
    return shape.view(frame.cache->memory(group), frame.block_table(group, sequence), layer, layers, head);
  }
  // Where a row stands in its sequence's memory.
  std::uint32_t position(const Frame& frame, std::uint32_t row, std::uint32_t sequence) const {
    return own ? row - frame.sequence_starts[sequence] : frame.positions[row];
  }
  std::uint32_t length(const Frame& frame, std::uint32_t sequence) const {
    return own ? frame.sequence_starts[sequence + 1] - frame.sequence_starts[sequence]
               : frame.sequence_lengths[sequence];
  }
};

namespace {

// Tokens [begin, end) that a query at `position` of a sequence of `length` tokens sees.
std::pair<std::uint32_t, std::uint32_t> visible(const nacelle_attention_attributes& of, bool chunked,
                                                std::uint32_t position, std::uint32_t length) {
  const std::uint32_t begin = first_seen(chunked, of.window, position);
  std::uint32_t end = of.causal ? position + 1 : std::max(length, position + 1);
  if (of.window && !of.causal)
    end = static_cast<std::uint32_t>(std::min<std::uint64_t>(end, std::uint64_t{position} + of.window));
  return {begin, end};
}

// Rows of a tile. Of many rows as many as fill whole kernel calls with the heads of a KV head; few are cut finer, so
// that all threads have some.
constexpr std::uint32_t kManyRows = 64;
std::uint32_t attention_rows(std::uint32_t group, std::uint32_t rows) {
  return rows < kManyRows ? std::max(1u, kMaxQueries / group) : kMaxQueries / std::gcd(group, kMaxQueries);
}

// Query heads of one KV head are cut into parts of as many as a kernel call takes, where they divide so.
std::uint32_t head_parts(std::uint32_t group) {
  return group > kMaxQueries && group % kMaxQueries == 0 ? group / kMaxQueries : 1;
}

// A unit is a tile of rows with a part of the query heads of one KV head. Where that makes less than kUnitsAThread for
// each thread, as in a long context of one sequence, it is one split of that, and a step of its own merges the splits:
// the same bits.
constexpr std::uint32_t kUnitsAThread = 4;
constexpr std::uint64_t kMostPartials = 1024;  // that are kept: a row of a split each
constexpr std::uint64_t kSmallMerge = 1024;    // heads of partials whose merging takes no longer than a barrier

}  // namespace

struct Compiler::AttentionStep {
  nacelle_attention_attributes of;
  bool chunked;
  KvMemory memory;
  const KeyKernels* keys;
  const ValueKernels* values;
  const AttentionKernels* kernels;
  const Place *q, *out, *partials = nullptr;
  std::uint64_t partial_count = 0;  // that there is room for
  std::uint32_t least_units;        // less are split
  const float *sinks, *bias;
  std::uint32_t reach = 0, tiles;
  std::uint32_t parts, part_count, group;  // of a KV head's query heads, of all; query heads of a part
  std::vector<float> slopes;
  std::vector<Encoding> encodings;  // of the output
  bool only_encoded = false;

  bool splits(const Frame& frame) const {
    const RowTiles& all = frame.tiles[tiles];
    return all.partials <= partial_count && all.splits > all.count && all.count * part_count < least_units;
  }
  Work work(const Frame& frame) const {
    const RowTiles& all = frame.tiles[tiles];
    return {std::uint64_t{splits(frame) ? all.splits : all.count} * part_count, 1};
  }
  Work merge_work(const Frame& frame) const {
    if (!splits(frame)) return {0, 1};
    const RowTiles& all = frame.tiles[tiles];
    return {std::uint64_t{all.count} * part_count, 1, all.partials * of.head_count <= kSmallMerge};
  }

  void run(const Frame& frame, std::uint64_t unit, std::byte* scratch) const {
    const RowTiles& all = frame.tiles[tiles];
    const auto part = static_cast<std::uint32_t>(unit % part_count);
    const auto number = static_cast<std::uint32_t>(unit / part_count);
    if (!splits(frame)) {
      const RowTile& tile = all.data[number];
      const OutRows rows = out_rows(frame, tile, part, scratch);
      for_calls(frame, tile, part, scratch, [&](AttentionCall& call, std::uint32_t first) {
        for (std::uint32_t i = 0; i < call.query_count; ++i) call.queries[i].out = output(rows, first + i);
        kernels->attend(call);
      });
      return encode_rows(frame, tile, part, rows);
    }
    const RowTile& tile = *std::prev(std::upper_bound(
        all.data, all.data + all.count, number, [](std::uint32_t n, const RowTile& t) { return n < t.first_split; }));
    const std::uint32_t split = number - tile.first_split;
    for_calls(frame, tile, part, scratch, [&](AttentionCall& call, std::uint32_t first) {
      for (std::uint32_t i = 0; i < call.query_count; ++i)
        call.queries[i].out = partial(frame, tile.partial(split, (first + i) / group), head(part, first + i));
      kernels->attend_split(call, split * kSplitTokens);
    });
  }

  void merge(const Frame& frame, std::uint64_t unit, std::byte* scratch) const {
    const RowTile& tile = frame.tiles[tiles].data[unit / part_count];
    const auto part = static_cast<std::uint32_t>(unit % part_count);
    const std::uint64_t stride = tile.count * partials->stride / sizeof(float);
    const OutRows rows = out_rows(frame, tile, part, scratch);
    for (std::uint32_t n = 0; n < tile.count * group; ++n)
      kernels->merge_splits(partial(frame, tile.partial(0, n / group), head(part, n)), tile.splits, stride,
                            sink(head(part, n)), of.value_width, reinterpret_cast<float*>(scratch), output(rows, n));
    encode_rows(frame, tile, part, rows);
  }

 private:
  // Query n of a tile: a row has as many as a part has heads.
  std::uint32_t head(std::uint32_t part, std::uint32_t n) const { return part * group + n % group; }
  float sink(std::uint32_t h) const { return sinks ? sinks[h] : -std::numeric_limits<float>::infinity(); }
  // Where a part's columns of a tile's rows go: to the output, or, if nobody reads them but for their encoding, no
  // further than to the scratch memory behind the kernels' own.
  struct OutRows {
    float* first;
    std::uint64_t stride;
  };
  OutRows out_rows(const Frame& frame, const RowTile& tile, std::uint32_t part, std::byte* scratch) const {
    const std::uint64_t width = std::uint64_t{group} * of.value_width;
    if (only_encoded) return {reinterpret_cast<float*>(scratch) + attention_scratch(of.value_width), width};
    return {frame.at(*out, tile.row) + part * width, out->stride / sizeof(float)};
  }
  float* output(const OutRows& rows, std::uint32_t n) const {
    return rows.first + n / group * rows.stride + std::uint64_t{n % group} * of.value_width;
  }
  float* partial(const Frame& frame, std::uint32_t row, std::uint32_t h) const {
    return frame.at(*partials, row) + h * partial_floats(of.value_width);
  }
  void encode_rows(const Frame& frame, const RowTile& tile, std::uint32_t part, const OutRows& rows) const {
    const std::uint32_t blocks = group * of.value_width / kQuantBlock;
    for (const Encoding& encoding : encodings)
      for (std::uint32_t r = 0; r < tile.count; ++r)
        encoding.encode(rows.first + r * rows.stride, out->width, part * blocks, (part + 1) * blocks,
                        frame.at<std::uint8_t>(*encoding.to, tile.row + r));
  }

  // body(call, first query) for a tile's queries with a part's heads.
  template <class Body>
  void for_calls(const Frame& frame, const RowTile& tile, std::uint32_t part, std::byte* scratch,
                 const Body& body) const {
    AttentionCall call;
    call.kv = memory.view(frame, tile.sequence, part / parts);
    call.keys = keys;
    call.values = values;
    call.reach = reach;
    call.scale = of.scale;
    call.soft_cap = of.soft_cap;
    call.scratch = reinterpret_cast<float*>(scratch);
    const std::uint32_t length = memory.length(frame, tile.sequence);
    for (std::uint32_t first = 0; first < tile.count * group; first += kMaxQueries) {
      call.query_count = std::min(kMaxQueries, tile.count * group - first);
      for (std::uint32_t i = 0; i < kMaxQueries; ++i) {
        const std::uint32_t n = first + (i < call.query_count ? i : 0);  // kernels round the count up: repeat one
        const std::uint32_t row = tile.row + n / group, h = head(part, n);
        Query& query = call.queries[i];
        query.q = frame.at(*q, row) + std::uint64_t{h} * of.key_width;
        query.position = memory.position(frame, row, tile.sequence);
        std::tie(query.begin, query.end) = visible(of, chunked, query.position, length);
        query.slope = slopes[h];
        query.sink = sink(h);
        query.bias = bias ? bias + std::uint64_t{h} * (2 * reach + 1) : nullptr;
      }
      body(call, first);
    }
  }
};

// The row-wise half. Without a cache group the place that keys and values get is returned.
Place* Compiler::store_kv(const nacelle_op& op, AttentionStep& step) {
  begin_rows(Lead::kRows, true);
  const Place* k = read(op.inputs[1]);
  const Place* v = input(op, 2) == NACELLE_NO_VALUE ? nullptr : read(op.inputs[2]);
  Place* own = nullptr;
  if (step.of.cache_group == NACELLE_NO_CACHE)
    step.memory.own = own =
        make_place(Space::kArena, Lead::kRows, step.memory.shape.layer_bytes(), own_blocks(bucket_));
  push_rows([=, of = step.of, memory = step.memory, keys = step.keys, values = step.values](
                const Frame& frame, std::uint32_t row, std::byte*) {
    const std::uint32_t sequence = frame.row_sequences[row];
    const KvView view = memory.view(frame, sequence, 0);
    const std::uint32_t position = memory.position(frame, row, sequence);
    keys->store(view, of.kv_head_count, position, frame.at(*k, row));
    if (v) values->store(view, of.kv_head_count, position, frame.at(*v, row), of.value_width);
  });
  return own;
}

// Room for no more than are ever split: on few threads none are, and there is no second step.
Place* Compiler::place_partials(AttentionStep& step) {
  step.least_units = kUnitsAThread * threads_;
  const std::uint64_t most_tiles = (step.least_units - 1) / step.part_count;
  const std::uint64_t most_rows =
      std::min<std::uint64_t>(bucket_.rows, most_tiles * attention_rows(step.group, bucket_.rows));
  const bool cached = step.of.cache_group != NACELLE_NO_CACHE;
  if (!cached || bucket_.rows >= kManyRows || most_rows == 0 || splits_of(bucket_.context) <= 1) return nullptr;
  step.partial_count = std::min<std::uint64_t>(kMostPartials, most_rows * splits_of(bucket_.context));
  Place* partials =
      make_place(Space::kArena, Lead::kRows, step.of.head_count * partial_floats(step.of.value_width) * sizeof(float),
                 step.partial_count);
  step.partials = partials;
  return partials;
}

void Compiler::attention(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool aliased = input(op, 2) == NACELLE_NO_VALUE;
  KvMemory memory{};
  if (of.cache_group != NACELLE_NO_CACHE)
    memory = {kv_shapes(graph_, cache_)[of.cache_group], of.cache_group, of.cache_layer,
              graph_.cache_groups[of.cache_group]->layer_count};
  else
    memory.shape = {kTileTokens,      of.kv_head_count, of.key_width, of.value_width,
                    NACELLE_TYPE_F32, NACELLE_TYPE_F32, aliased};
  auto step = std::make_shared<AttentionStep>();
  step->of = of;
  step->chunked = op.kind == NACELLE_OP_CHUNKED_ATTENTION;
  step->memory = memory;
  step->keys = choose_keys(memory.shape.key_type, weights_.isa());
  step->values = choose_values(memory.shape.value_type, aliased, weights_.isa());
  Place* own = store_kv(op, *step);

  // The parallel half.
  begin_step();
  if (own) keep_alive(own);
  step->kernels = choose_table(weights_.isa()).attention;
  step->q = read(op.inputs[0]);
  step->out = write(op.outputs[0]);
  step->sinks = weights_.vector(input(op, 3));
  step->bias = weights_.vector(input(op, 4));
  if (step->bias) step->reach = static_cast<std::uint32_t>(graph_.values[op.inputs[4]]->shape[1]) / 2;
  step->parts = head_parts(of.head_count / of.kv_head_count);
  step->part_count = of.kv_head_count * step->parts;
  step->group = of.head_count / step->part_count;
  step->slopes.resize(of.head_count);
  if (of.alibi_bias != 0)
    for (std::uint32_t head = 0; head < of.head_count; ++head)
      step->slopes[head] = alibi_slope(of.alibi_bias, head, of.head_count);
  if (step->group * of.value_width % kQuantBlock == 0) step->encodings = plan_encodings(op.outputs[0]);
  step->only_encoded = !step->encodings.empty() && is_only_encoded(op.outputs[0]);
  step->tiles = tile_index(attention_rows(step->group, bucket_.rows));
  need_scratch(
      (attention_scratch(of.value_width) + attention_rows(step->group, bucket_.rows) * step->group * of.value_width) *
      sizeof(float));
  Place* partials = place_partials(*step);
  push_step(
      "attention", [step](const Frame& frame, std::uint32_t) { return step->work(frame); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) {
        for (std::uint64_t unit = begin; unit < end; ++unit) step->run(frame, unit, scratch);
      });
  if (!partials) return;
  begin_step();
  keep_alive(partials);
  read(op.outputs[0]);
  push_step(
      "attention: splits", [step](const Frame& frame, std::uint32_t) { return step->merge_work(frame); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) {
        for (std::uint64_t unit = begin; unit < end; ++unit) step->merge(frame, unit, scratch);
      });
}

// The entry of Frame::tiles whose tiles have at most `rows` rows.
std::uint32_t Compiler::tile_index(std::uint32_t rows) {
  auto& sizes = program_.tile_rows;
  const auto found = std::find(sizes.begin(), sizes.end(), rows);
  if (found == sizes.end()) sizes.push_back(rows);
  return static_cast<std::uint32_t>(std::find(sizes.begin(), sizes.end(), rows) - sizes.begin());
}

}  // namespace nacelle::cpu
