// What is made of weights once they are there: rope tables, biases of attention, vectors of recurrences, and the slots
// of low-rank adapters.
#include <cmath>
#include <nacelle/attention.hpp>
#include <nacelle/rope.hpp>

#include "backends/vulkan/weights.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostRank = 512;  // of shaders/adapter.comp

// ALiBi (Press et al., arXiv 2108.12409, section 3): a geometric series from 2^(-max/n); the heads beyond the largest
// power of two take every other slope of the series twice as fine.
float alibi_slope(float max_bias, std::uint32_t head, std::uint32_t head_count) {
  std::uint32_t n = 1;
  while (n * 2 <= head_count) n *= 2;
  return static_cast<float>(head < n ? std::exp2(-static_cast<double>(max_bias) * (head + 1) / n)
                                     : std::exp2(-static_cast<double>(max_bias) / 2 * (2 * (head - n) + 1) / n));
}

}  // namespace

// cos and sin of every position and pair, from double precision.
void VulkanWeights::make_rope_tables() {
  const auto factors = [&](const nacelle_op& op, std::uint32_t input) -> std::span<const float> {
    if (input >= op.input_count || op.inputs[input] == NACELLE_NO_VALUE) return {};
    return vectors_[graph_.values[op.inputs[input]]->weight];
  };
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op& op = *graph_.ops[i];
    if (op.kind != NACELLE_OP_ROPE) continue;
    const auto rope = sdk::load(static_cast<const nacelle_rope_attributes*>(op.attributes));
    for (const std::uint32_t input : {2u, 3u})
      if (const auto list = factors(op, input); !list.empty() && list.size() < rope.rotary_width / 2)
        throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "rope: a list of factors is shorter than its pairs");
    const RopeTable table = make_rope_table(rope, most_context_, factors(op, 2), factors(op, 3));
    std::vector<float> key = table.frequencies;
    key.push_back(table.magnitude);
    auto [entry, added] = rope_memory_.try_emplace(std::move(key));
    rope_tables_[&op] = entry->second.address();
    if (!added) continue;
    const std::uint64_t count = std::uint64_t{2} * most_context_ * table.frequencies.size();
    entry->second = device_.memory().allocate(MemoryKind::kDevice, count * sizeof(float), "a rope table");
    std::vector<float> values;
    values.reserve(count);
    for (std::uint32_t position = 0; position < most_context_; ++position)
      for (const float frequency : table.frequencies) {
        const double angle = static_cast<double>(position) * frequency;
        values.push_back(static_cast<float>(std::cos(angle) * table.magnitude));
        values.push_back(static_cast<float>(std::sin(angle) * table.magnitude));
      }
    device_.upload(entry->second, 0, values.data(), values.size() * sizeof(float));
    rope_tables_[&op] = entry->second.address();
    bytes_ += entry->second.size();
  }
}

void VulkanWeights::make_attention_biases() {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op& op = *graph_.ops[i];
    if (!is_attention(op.kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(op.attributes));
    const bool has_table = op.input_count > 4 && op.inputs[4] != NACELLE_NO_VALUE;
    if (of.alibi_bias == 0 && !has_table) continue;
    const std::vector<float> none;
    const std::vector<float>& table = has_table ? vectors_[graph_.values[op.inputs[4]]->weight] : none;
    const std::size_t distances = table.size() / of.head_count;
    if (has_table && (distances * of.head_count != table.size() || distances % 2 == 0))
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: a table of biases has " + std::to_string(table.size()) +
                                                       " entries; expected an odd number for each of " +
                                                       std::to_string(of.head_count) + " heads");
    std::vector<float> words;
    for (std::uint32_t head = 0; head < of.head_count; ++head) {
      words.push_back(of.alibi_bias != 0 ? alibi_slope(of.alibi_bias, head, of.head_count) : 0);
      const auto first = table.begin() + static_cast<std::ptrdiff_t>(head * distances);
      words.insert(words.end(), first, first + static_cast<std::ptrdiff_t>(distances));
    }
    Piece& memory = attention_biases_[&op];
    memory = device_.memory().allocate(MemoryKind::kDevice, words.size() * sizeof(float), "biases of attention");
    device_.upload(memory, 0, words.data(), words.size() * sizeof(float));
    bytes_ += memory.size();
  }
}

std::pair<std::uint64_t, std::uint32_t> VulkanWeights::attention_bias(const nacelle_op* op) const {
  const auto found = attention_biases_.find(op);
  if (found == attention_biases_.end()) return {0, 0};
  const bool has_table = op->input_count > 4 && op->inputs[4] != NACELLE_NO_VALUE;
  const auto heads = sdk::load(static_cast<const nacelle_attention_attributes*>(op->attributes)).head_count;
  const std::size_t entries = has_table ? vectors_[graph_.values[op->inputs[4]]->weight].size() : 0;
  return {found->second.address(), static_cast<std::uint32_t>(1 + entries / heads)};
}

// Rates, skips and step biases, with zeros for what the operation does not have.
void VulkanWeights::make_scan_vectors() {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op& op = *graph_.ops[i];
    if (op.kind != NACELLE_OP_STATE_SCAN) continue;
    const auto heads = sdk::load(static_cast<const nacelle_scan_attributes*>(op.attributes)).head_count;
    const auto steps = static_cast<std::size_t>(graph_.values[op.inputs[3]]->shape[1]);
    std::vector<float> words;
    const auto append = [&](std::uint32_t input, std::size_t count) {
      const bool there = input < op.input_count && op.inputs[input] != NACELLE_NO_VALUE;
      const std::vector<float> zeros(there ? 0 : count);
      const std::vector<float>& from = there ? vectors_[graph_.values[op.inputs[input]]->weight] : zeros;
      if (from.size() != count)
        throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: input " + std::to_string(input) +
                                                         " of a recurrence has " + std::to_string(from.size()) +
                                                         " elements; expected " + std::to_string(count));
      words.insert(words.end(), from.begin(), from.end());
    };
    append(7, heads);
    append(5, steps);
    append(4, static_cast<std::size_t>(graph_.values[op.inputs[4]]->shape[0]));
    Piece& memory = scan_vectors_[&op];
    memory = device_.memory().allocate(MemoryKind::kDevice, words.size() * sizeof(float), "vectors of a recurrence");
    device_.upload(memory, 0, words.data(), words.size() * sizeof(float));
    bytes_ += memory.size();
  }
}

// ---- Adapters

void VulkanWeights::make_adapters(const nacelle_prepare_options& options) {
  most_rank_ = options.max_rank;
  for (std::uint32_t i = 0; i < graph_.op_count && options.max_adapters; ++i) {
    const nacelle_op& op = *graph_.ops[i];
    if (op.kind != NACELLE_OP_ADAPTER_MATMUL && op.kind != NACELLE_OP_MOE_ADAPTER_MATMUL) continue;
    if (options.max_rank > kMostRank)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: adapters of rank " + std::to_string(options.max_rank) +
                                                    ", at most " + std::to_string(kMostRank));
    const std::uint32_t target = sdk::load(static_cast<const nacelle_adapter_attributes*>(op.attributes)).target;
    if (target >= graph_.value_count || graph_.values[target]->kind != NACELLE_VALUE_WEIGHT)
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: an adapter's target is not a weight");
    Adapters& of = adapters_[target];
    if (!of.host.empty()) continue;
    const sdk::AdapterShape shape = sdk::adapter_shape(*graph_.values[target]);
    of.host.resize(options.max_adapters);
    for (AdapterEntry& entry : of.host) {
      const auto room = [&](std::uint64_t columns) {
        return device_.memory().allocate(MemoryKind::kDevice,
                                         shape.matrices * options.max_rank * columns * sizeof(float), "an adapter");
      };
      of.a.push_back(room(shape.columns));
      of.b.push_back(room(shape.rows));
      entry = {of.a.back().address(), of.b.back().address(), 0, 0};
      bytes_ += of.a.back().size() + of.b.back().size();
    }
    of.entries = device_.memory().allocate(MemoryKind::kDevice, of.host.size() * sizeof(AdapterEntry), "adapters");
    device_.upload(of.entries, 0, of.host.data(), of.host.size() * sizeof(AdapterEntry));
  }
}

std::pair<std::uint64_t, std::uint32_t> VulkanWeights::adapters(std::uint32_t value) const {
  const auto found = adapters_.find(value);
  if (found == adapters_.end()) return {0, 0};
  return {found->second.entries.address(), static_cast<std::uint32_t>(found->second.host.size())};
}

// The slot may be in use by steps that were queued before.
void VulkanWeights::write_adapter(sdk::Stream& stream, const nacelle_adapter_update& update) {
  const auto found = adapters_.find(update.target);
  if (found == adapters_.end()) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: no operation adapts that weight");
  Adapters& of = found->second;
  if (update.slot >= of.host.size() || update.rank > most_rank_)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: adapter slot or rank is beyond what prepare was told");
  if (const nacelle_status status = stream.synchronize(); status != NACELLE_OK)
    throw sdk::Failure(status, "vulkan: waiting for the steps before an adapter failed");
  const sdk::AdapterShape shape = sdk::adapter_shape(*graph_.values[update.target]);
  AdapterEntry& entry = of.host[update.slot];
  entry.rank = update.rank;
  entry.scale = update.scale;
  if (update.rank) {
    const std::uint64_t line = shape.matrices * update.rank * sizeof(float);
    device_.upload(of.a[update.slot], 0, update.a, line * shape.columns);
    device_.upload(of.b[update.slot], 0, update.b, line * shape.rows);
  }
  device_.upload(of.entries, update.slot * sizeof entry, &entry, sizeof entry);
}

}  // namespace nacelle::vulkan
