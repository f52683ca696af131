// Attention: this step's keys and values are stored first, a row at a time; then all queries read what is stored, this
// step's rows like those of earlier steps. Without a cache the store is a piece of the arena, one block after another.
#include <algorithm>
#include <cmath>
#include <limits>
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

// What both halves of an attention need to know. Blocks lie in the cache group, or from `own` on.
struct Memory {
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

// Tokens [begin, end) that a query at `position` of a sequence of `length` tokens sees.
std::pair<std::uint32_t, std::uint32_t> visible(const nacelle_attention_attributes& of, std::uint32_t position,
                                                std::uint32_t length) {
  const std::uint32_t begin = of.window && position >= of.window ? position - of.window + 1 : 0;
  std::uint32_t end = of.causal ? position + 1 : std::max(length, position + 1);
  if (of.window && !of.causal)
    end = static_cast<std::uint32_t>(std::min<std::uint64_t>(end, std::uint64_t{position} + of.window));
  return {begin, end};
}

// Rows of a tile. Of many rows as many as fill whole kernel calls with the heads of a KV head; few are cut finer, so
// that all threads have some.
std::uint32_t attention_rows(std::uint32_t group, std::uint32_t rows) {
  constexpr std::uint32_t kManyRows = 64;
  return rows < kManyRows ? std::max(1u, kMaxQueries / group) : kMaxQueries / std::gcd(group, kMaxQueries);
}

}  // namespace

void Compiler::attention(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool cached = of.cache_group != NACELLE_NO_CACHE;
  const bool aliased = input(op, 2) == NACELLE_NO_VALUE;
  Memory memory{};
  if (cached)
    memory = {kv_shapes(graph_, cache_)[of.cache_group], of.cache_group, of.cache_layer,
              graph_.cache_groups[of.cache_group]->layer_count};
  else
    memory.shape = {kTileTokens, of.kv_head_count, of.key_width, of.value_width, NACELLE_TYPE_F32, NACELLE_TYPE_F32};
  const KeyKernels* keys = choose_keys(memory.shape.key_type, weights_.isa());
  const ValueKernels* values = choose_values(memory.shape.value_type, weights_.isa());

  // The row-wise half.
  begin_rows(Lead::kRows, true);
  const Place* k = read(op.inputs[1]);
  const Place* v = aliased ? k : read(op.inputs[2]);
  Place* own = nullptr;
  if (!cached)
    memory.own = own = make_place(Space::kArena, Lead::kRows, memory.shape.layer_bytes(), own_blocks(bucket_));
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    const std::uint32_t sequence = frame.row_sequences[row];
    const KvView view = memory.view(frame, sequence, 0);
    const std::uint32_t position = memory.position(frame, row, sequence);
    keys->store(view, of.kv_head_count, position, frame.at(*k, row));
    values->store(view, of.kv_head_count, position, frame.at(*v, row), aliased ? of.key_width : of.value_width);
  });

  // The parallel half: a unit is a tile of rows with all query heads of one KV head.
  begin_step();
  if (own) keep_alive(own);
  const Place* q = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const float* sinks = weights_.vector(input(op, 3));
  const float* bias = weights_.vector(input(op, 4));
  const std::uint32_t reach = bias ? static_cast<std::uint32_t>(graph_.values[op.inputs[4]]->shape[1]) / 2 : 0;
  const auto kernel = choose_table(weights_.isa()).attention->attend;
  const std::uint32_t group = of.head_count / of.kv_head_count;
  const std::uint32_t unit_width = group * of.value_width;  // columns of the output that one unit writes
  std::vector<Encoding> encodings;
  if (unit_width % kQuantBlock == 0) encodings = plan_encodings(op.outputs[0]);
  const std::uint32_t tiles = tile_index(attention_rows(group, bucket_.rows));
  need_scratch(attention_scratch(of.value_width) * sizeof(float));
  std::vector<float> slopes(of.head_count);
  if (of.alibi_bias != 0)
    for (std::uint32_t head = 0; head < of.head_count; ++head)
      slopes[head] = alibi_slope(of.alibi_bias, head, of.head_count);

  // `count` queries of a tile from number `first` on; a row has as many as the KV head has query heads.
  const auto attend = [=, slopes = std::move(slopes)](const Frame& frame, const RowTile& tile, std::uint32_t kv_head,
                                                      std::uint32_t first, std::uint32_t count, std::byte* scratch) {
    AttentionCall call;
    call.kv = memory.view(frame, tile.sequence, kv_head);
    call.keys = keys;
    call.values = values;
    call.query_count = count;
    call.reach = reach;
    call.scale = of.scale;
    call.soft_cap = of.soft_cap;
    call.scratch = reinterpret_cast<float*>(scratch);
    const std::uint32_t length = memory.length(frame, tile.sequence);
    for (std::uint32_t i = 0; i < kMaxQueries; ++i) {
      const std::uint32_t n = first + (i < count ? i : 0);  // kernels round the count up: repeat one
      const std::uint32_t row = tile.row + n / group, h = kv_head * group + n % group;
      Query& query = call.queries[i];
      query.q = frame.at(*q, row) + std::uint64_t{h} * of.key_width;
      query.out = frame.at(*out, row) + std::uint64_t{h} * of.value_width;
      query.position = memory.position(frame, row, tile.sequence);
      std::tie(query.begin, query.end) = visible(of, query.position, length);
      query.slope = slopes[h];
      query.sink = sinks ? sinks[h] : -std::numeric_limits<float>::infinity();
      query.bias = bias ? bias + std::uint64_t{h} * (2 * reach + 1) : nullptr;
    }
    kernel(call);
  };
  push_step(
      "attention",
      [=](const Frame& frame, std::uint32_t) -> Work {
        return {std::uint64_t{frame.tiles[tiles].count} * of.kv_head_count, 1};
      },
      [=, encodings = std::move(encodings)](const Frame& frame, std::uint64_t begin, std::uint64_t end,
                                            std::byte* scratch) {
        for (std::uint64_t unit = begin; unit < end; ++unit) {
          const RowTile& tile = frame.tiles[tiles].data[unit / of.kv_head_count];
          const auto kv_head = static_cast<std::uint32_t>(unit % of.kv_head_count);
          for (std::uint32_t first = 0; first < tile.count * group; first += kMaxQueries)
            attend(frame, tile, kv_head, first, std::min(kMaxQueries, tile.count * group - first), scratch);
          const std::uint32_t block = kv_head * unit_width / kQuantBlock;
          for (const Encoding& encoding : encodings)
            for (std::uint32_t row = tile.row; row < tile.row + tile.count; ++row)
              encoding.encode(frame.at(*out, row) + block * kQuantBlock, out->width, block,
                              block + unit_width / kQuantBlock, frame.at<std::uint8_t>(*encoding.to, row));
        }
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
