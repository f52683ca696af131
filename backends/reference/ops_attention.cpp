// Attention, over the paged cache or over the step's own rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nacelle/attention.hpp>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

// What the rows of one sequence attend to: key j stands at position positions[j], or at first + j where that is
// nullptr.
struct Memory {
  Matrix keys, values;             // [tokens, G*D], [tokens, G*E]; where values alias the keys, both are the same
  std::uint64_t value_stride = 0;  // columns from one head's values to the next
  const std::uint32_t* positions = nullptr;
  std::uint32_t first = 0;

  std::uint32_t position(std::uint64_t j) const {
    return positions ? positions[j] : first + static_cast<std::uint32_t>(j);
  }
};

bool visible(const nacelle_attention_attributes& of, bool chunked, std::uint64_t query, std::uint64_t key) {
  if (of.causal && key > query) return false;
  if (chunked) return key / of.window == query / of.window;
  const std::uint64_t distance = key > query ? key - query : query - key;
  return !of.window || distance < of.window;
}

// ALiBi (Press et al., arXiv 2108.12409, section 3): slopes are a geometric series from 2^(-max/n); where the head
// count is not a power of two, the heads beyond the largest one below it take every other slope of the series twice as
// fine.
double alibi_slope(double max_bias, std::uint32_t head, std::uint32_t head_count) {
  std::uint32_t n = 1;
  while (n * 2 <= head_count) n *= 2;
  return head < n ? std::exp2(-max_bias * (head + 1) / n) : std::exp2(-max_bias / 2 * (2 * (head - n) + 1) / n);
}

// Everything that is added to a score of `head` because of where query and key stand.
struct PositionBias {
  double slope = 0;
  std::span<const float> table;  // [2R + 1], or empty

  double at(std::uint32_t query, std::uint32_t key) const {
    const std::int64_t distance = static_cast<std::int64_t>(key) - query;
    double bias = -slope * static_cast<double>(std::abs(distance));
    if (!table.empty()) {
      const std::int64_t reach = static_cast<std::int64_t>(table.size() / 2);
      bias += table[static_cast<std::size_t>(std::clamp(distance, -reach, reach) + reach)];
    }
    return bias;
  }
};

constexpr double kHidden = -std::numeric_limits<double>::infinity();

// One head of one row:
//   s_j = scale q.k_j;  s_j = cap tanh(s_j / cap);  s_j += bias(query, j)        over the keys that are visible
//   p_j = exp(s_j) / (exp(sink) + sum_i exp(s_i));  y = sum_j p_j v_j
// Scaled dot-product attention: Vaswani et al., arXiv 1706.03762, equation 1. Soft-cap: Gemma 2. Sink: gpt-oss, a
// learnt score that takes part in the softmax and has no value.
void attend(const nacelle_attention_attributes& of, bool chunked, const Memory& memory, std::uint32_t head,
            std::uint32_t position, std::span<const float> query, const float* sink, const PositionBias& bias,
            std::vector<double>& scores, std::span<float> y) {
  const std::uint64_t kv_head = head / (of.head_count / of.kv_head_count);
  scores.assign(memory.keys.rows, kHidden);
  double largest = sink ? *sink : kHidden;
  for (std::uint64_t j = 0; j < memory.keys.rows; ++j) {
    if (!visible(of, chunked, position, memory.position(j))) continue;
    double score = of.scale * dot(query, memory.keys.row(j).subspan(kv_head * of.key_width, of.key_width));
    if (of.soft_cap != 0) score = of.soft_cap * std::tanh(score / of.soft_cap);
    scores[j] = score + bias.at(position, memory.position(j));
    largest = std::max(largest, scores[j]);
  }
  double sum = sink ? std::exp(*sink - largest) : 0;
  for (double& score : scores) sum += score = score == kHidden ? 0 : std::exp(score - largest);
  for (std::uint64_t i = 0; i < of.value_width; ++i) {
    double mixed = 0;
    for (std::uint64_t j = 0; j < scores.size(); ++j)
      if (scores[j] != 0) mixed += scores[j] * memory.values.at(j, kv_head * memory.value_stride + i);
    y[i] = sum > 0 ? static_cast<float>(mixed / sum) : 0;
  }
}

// Stores this step's keys and values of all sequences.
void store(Call& call, const nacelle_attention_attributes& of) {
  const Step& step = call.step();
  const Matrix k = call.in(1), v = call.has(2) ? call.in(2) : Matrix{};
  for (std::uint32_t r = 0; r < step.row_count; ++r) {
    const auto table = step.block_table(of.cache_group, step.row_sequences[r]);
    const auto value = v.data ? std::span<const float>(v.row(r)) : std::span<const float>();
    call.frame().cache->write(of.cache_group, of.cache_layer, table, step.positions[r], k.row(r), value);
  }
}

// Reads back what the rows [begin, end) of a sequence can see; blocks before the window may be gone and are not
// touched.
Memory recall(Call& call, const nacelle_attention_attributes& of, std::uint32_t sequence, std::uint32_t begin,
              std::uint32_t end) {
  Frame& frame = call.frame();
  const auto positions = frame.step.positions.subspan(begin, end - begin);
  const auto [earliest, latest] = std::minmax_element(positions.begin(), positions.end());
  Memory memory;
  memory.first = first_seen(call.op().kind == NACELLE_OP_CHUNKED_ATTENTION, of.window, *earliest);
  const std::uint32_t last = of.causal ? *latest + 1 : frame.step.sequence_lengths[sequence];
  const std::uint64_t count = last - memory.first;
  const GroupLayout& layout = frame.cache->layout(of.cache_group);
  const auto table = frame.step.block_table(of.cache_group, sequence);

  frame.keys.resize(count * layout.key_width);
  memory.keys = {frame.keys.data(), count, layout.key_width};
  frame.cached_values.resize(count * layout.value_width);
  memory.values = layout.value_width ? Matrix{frame.cached_values.data(), count, layout.value_width} : memory.keys;
  memory.value_stride = layout.value_width ? of.value_width : of.key_width;
  for (std::uint32_t j = 0; j < count; ++j) {
    frame.cache->read_key(of.cache_group, of.cache_layer, table, memory.first + j, memory.keys.row(j));
    if (layout.value_width)
      frame.cache->read_value(of.cache_group, of.cache_layer, table, memory.first + j, memory.values.row(j));
  }
  return memory;
}

// Without a cache a sequence's memory is its own rows of this step (encoders: a step holds whole sequences).
Memory own_rows(const Call& call, const nacelle_attention_attributes& of, std::uint32_t begin, std::uint32_t end) {
  const Matrix k = call.in(1), v = call.has(2) ? call.in(2) : k;
  Memory memory;
  memory.keys = {k.row(begin).data(), end - begin, k.width};
  memory.values = {v.row(begin).data(), end - begin, v.width};
  memory.value_stride = call.has(2) ? of.value_width : of.key_width;
  memory.positions = call.step().positions.data() + begin;
  return memory;
}

}  // namespace

// Grouped-query attention (Ainslie et al., arXiv 2305.13245): H query heads share G key and value heads, H / G each.
// A causal row at position p sees the keys of its own sequence at p and before, within the window; see `visible`. Also
// CHUNKED_ATTENTION, whose rows see those of their own chunk.
void attention(Call& call) {
  const auto of = call.attributes<nacelle_attention_attributes>();
  const Step& step = call.step();
  const Matrix q = call.in(0), y = call.out();
  const Matrix sinks = call.has(3) ? call.in(3) : Matrix{};
  const Matrix table = call.has(4) ? call.in(4) : Matrix{};
  const bool cached = of.cache_group != NACELLE_NO_CACHE, chunked = call.op().kind == NACELLE_OP_CHUNKED_ATTENTION;
  if (cached) store(call, of);
  for (std::uint32_t s = 0; s < step.sequence_count; ++s) {
    const std::uint32_t begin = step.sequence_starts[s], end = step.sequence_starts[s + 1];
    if (begin == end) continue;
    const Memory memory = cached ? recall(call, of, s, begin, end) : own_rows(call, of, begin, end);
    for (std::uint32_t head = 0; head < of.head_count; ++head) {
      PositionBias bias;
      if (of.alibi_bias != 0) bias.slope = alibi_slope(of.alibi_bias, head, of.head_count);
      if (table.data) bias.table = table.row(head);
      for (std::uint32_t r = begin; r < end; ++r)
        attend(of, chunked, memory, head, step.positions[r],
               q.row(r).subspan(std::uint64_t{head} * of.key_width, of.key_width),
               sinks.data ? sinks.data + head : nullptr, bias, call.frame().scores,
               y.row(r).subspan(std::uint64_t{head} * of.value_width, of.value_width));
    }
  }
}

}  // namespace nacelle::reference
