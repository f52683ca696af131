#include "core/engine/memory_plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/types.hpp>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/placed_model.hpp"
#include "sdk/runtime/adapters.hpp"
#include "sdk/runtime/segments.hpp"

namespace nacelle {
namespace {

constexpr std::uint64_t kPadding = 8;  // rows of activations are padded, and some are kept in a second form
constexpr double kOwnMemoryShare = 0.9, kSharedMemoryShare = 0.5;

std::uint64_t extent_in(std::int64_t extent, const nacelle_bucket& bucket) {
  return extent == NACELLE_DIM_ROWS          ? bucket.rows
         : extent == NACELLE_DIM_SEQUENCES   ? bucket.sequences
         : extent == NACELLE_DIM_OUTPUT_ROWS ? bucket.output_rows
                                             : static_cast<std::uint64_t>(extent);
}

std::uint64_t bytes_in(const nacelle_value& value, const nacelle_bucket& bucket) {
  std::uint64_t bytes = sizeof(float);
  for (std::uint32_t i = 0; i < value.rank; ++i) bytes *= extent_in(value.shape[i], bucket);
  return bytes;
}

// What a plan holds: the most that is alive at once as the operations run in their order, each value from its making to
// its last use; and what it hands out, which stays there for two steps.
std::uint64_t plan_bytes(const sdk::GraphRecord& graph, const nacelle_bucket& bucket) {
  std::vector<std::size_t> last(graph.values.size(), 0);
  for (std::size_t i = 0; i < graph.ops.size(); ++i)
    for (const std::uint32_t input : graph.ops[i].inputs)
      if (input != NACELLE_NO_VALUE) last[input] = i;
  std::vector<std::uint32_t> copies(graph.values.size(), 0);  // of what is handed out, for two steps
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    if (graph.values[v].output != NACELLE_OUTPUT_NONE)  // an embedding also lies in the output blocks
      copies[v] = graph.values[v].output == NACELLE_OUTPUT_EMBEDDING ? 4 : 2;
  for (const sdk::OpRecord& op : graph.ops)  // of logits also what masks and penalties make of them
    if (op.kind == NACELLE_OP_LOGITS_SELECT) copies[op.inputs[0]] = 4;
  std::uint64_t alive = 0, peak = 0, kept = 0;
  std::vector<std::uint64_t> ends(graph.ops.size() + 1, 0);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    for (const std::uint32_t output : graph.ops[i].outputs) {
      const std::uint64_t bytes = bytes_in(graph.values[output], bucket);
      if (copies[output]) {
        kept += copies[output] * bytes;
        continue;
      }
      alive += bytes;
      ends[std::max(last[output], i)] += bytes;
    }
    peak = std::max(peak, alive);
    alive -= ends[i];
  }
  return peak + peak / kPadding + kept;
}

// What crosses between host and device, twice: one step is written while another runs.
std::uint64_t step_bytes(const nacelle_bucket& bucket, std::uint32_t vocabulary) {
  constexpr std::uint64_t kLeastBlockTokens = 16;
  const std::uint64_t rows = bucket.rows, outputs = bucket.output_rows;
  return 2 * (rows * 16 + bucket.sequences * (bucket.context / kLeastBlockTokens + 2) * 4 + outputs * vocabulary / 8 +
              bucket.adjustments * sizeof(nacelle_adjustment) + outputs * bucket.candidates * 12);
}

std::uint64_t adapter_bytes(const sdk::GraphRecord& graph, const DeviceModelOptions& options) {
  std::uint64_t extents = 0;
  for (const sdk::OpRecord& op : graph.ops) {
    if (!sdk::is_adapter(op)) continue;
    const auto of = sdk::adapter_shape(graph.values[op.attributes.as<nacelle_adapter_attributes>().target]);
    extents += of.matrices * (of.rows + of.columns);
  }
  return extents * options.max_adapters * options.max_adapter_rank * sizeof(float);
}

// The host's by PluginHost::memory(), a GPU's by its own word.
MemoryBudget budget_of(const PluginHost& host, const DeviceRecord& device) {
  if (device.kind != NACELLE_DEVICE_GPU) return host.memory().budget();
  return {device.memory_total, device.memory_total - std::min(device.memory_total, device.memory_free),
          "the memory of " + device.name, false};
}

std::string gib(std::uint64_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes) / kMiB;
  return mib < 1000 ? fmt::format("{:.0f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

}  // namespace

std::string memory_of(const DeviceRecord& device) { return device.kind == NACELLE_DEVICE_GPU ? device.name : "host"; }

MemoryNeed& MemoryNeed::operator+=(const MemoryNeed& other) noexcept {
  weights += other.weights;
  work += other.work;
  adapters += other.adapters;
  kv_per_token += other.kv_per_token;
  state += other.state;
  states += other.states;
  return *this;
}

MemoryNeed estimate_need(const sdk::GraphRecord& graph, const DeviceModelOptions& options) {
  MemoryNeed need;
  need.weights = sdk::stored_weight_bytes(graph);
  need.adapters = adapter_bytes(graph, options);
  for (const nacelle_bucket& bucket : make_buckets(options, graph.vocabulary))
    need.work += plan_bytes(graph, bucket) + step_bytes(bucket, graph.vocabulary);
  for (const nacelle_cache_group& group : graph.cache_groups)
    if (group.kind == NACELLE_CACHE_STATE)
      need.state += std::uint64_t{group.layer_count} * group.key_width * sizeof(float);
    else
      need.kv_per_token += group.layer_count * (row_bytes(options.key_type, group.key_width) +
                                                row_bytes(options.value_type, group.value_width));
  return need;
}

MemoryPlan::MemoryPlan(const PluginHost& host, std::string what, const std::vector<PlacedSegment>& segments,
                       const DeviceModelOptions& options)
    : what_(std::move(what)) {
  for (const PlacedSegment& segment : segments) {
    const auto [found, is_new] = memories_.try_emplace(memory_of(segment.device));
    if (is_new) found->second.budget = budget_of(host, segment.device);
    found->second.need += estimate_need(segment.graph->record(), options);
  }
  keep_states(wanted_states(options));
}

void MemoryPlan::forget_estimates() {
  for (auto& [name, memory] : memories_)
    memory.need.weights = memory.need.kv_per_token = memory.need.state = memory.need.states = 0;
}

std::uint32_t MemoryPlan::keep_states(std::uint32_t wanted) {
  std::uint64_t count = wanted;
  bool any = false;
  for (const auto& [name, memory] : memories_) {
    if (memory.need.state == 0) continue;
    any = true;
    const std::uint64_t share = memory.need.kv_per_token ? kv_share(name) / 4 : kv_share(name);
    count = std::max<std::uint64_t>(1, std::min(count, share / memory.need.state));
  }
  for (auto& [name, memory] : memories_) memory.need.states = memory.need.state * count;
  return any ? static_cast<std::uint32_t>(count) : 0;
}

std::uint64_t MemoryPlan::kv_share(const std::string& name) const {
  const Memory& memory = memories_.at(name);
  const std::uint64_t free = memory.budget.free(), left = free - std::min(free, memory.need.fixed());
  const double share = memory.budget.is_hard ? kOwnMemoryShare : kSharedMemoryShare;
  return static_cast<std::uint64_t>(static_cast<double>(left) * share);
}

std::uint64_t MemoryPlan::tokens_that_fit() const {
  std::uint64_t tokens = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [name, memory] : memories_)
    if (memory.need.kv_per_token) tokens = std::min(tokens, kv_share(name) / memory.need.kv_per_token);
  return tokens;
}

bool MemoryPlan::fits(std::uint64_t kv_tokens) const {
  return std::all_of(memories_.begin(), memories_.end(),
                     [&](const auto& entry) { return entry.second.total(kv_tokens) <= entry.second.budget.free(); });
}

void MemoryPlan::check(std::uint64_t kv_tokens) const {
  for (const auto& [name, memory] : memories_) {
    const std::uint64_t free = memory.budget.free();
    if (memory.total(kv_tokens) <= free) continue;
    if (memory.need.weights <= free && memory.need.weights + memory.need.adapters > free)
      throw Error(ErrorKind::kResource, what_ + ": " + memory.tell(kv_tokens) +
                                            "; use a smaller --max-loras or --max-lora-rank, or start without "
                                            "--lora-experts where it is set");
    const char* advice = memory.need.weights > free
                             ? "; use a smaller model or quantisation, or raise the limit"
                             : "; use a smaller --context, --cache-tokens, --batch-tokens or --max-sequences, or "
                               "--cache-type q8_0";
    throw Error(ErrorKind::kResource, what_ + ": " + memory.tell(kv_tokens) + advice);
  }
}

std::string MemoryPlan::tell(std::uint64_t kv_tokens) const {
  const auto left = [&](const auto& entry) {
    return static_cast<std::int64_t>(entry.second.budget.free()) -
           static_cast<std::int64_t>(entry.second.total(kv_tokens));
  };
  const auto tightest = std::min_element(memories_.begin(), memories_.end(),
                                         [&](const auto& a, const auto& b) { return left(a) < left(b); });
  return tightest->second.tell(kv_tokens);
}

void MemoryPlan::log(std::uint64_t kv_tokens) const {
  for (const auto& [name, memory] : memories_) nacelle::log::debug("{}: {}", what_, memory.tell(kv_tokens));
}

std::string MemoryPlan::Memory::tell(std::uint64_t kv_tokens) const {
  const std::uint64_t kv = need.kv_per_token * kv_tokens;
  std::string text = fmt::format("needs {}: weights {}", gib(total(kv_tokens)), gib(need.weights));
  if (kv) text += fmt::format(", KV cache {} ({} tokens)", gib(kv), kv_tokens);
  if (need.states) text += fmt::format(", states {} ({})", gib(need.states), need.states / need.state);
  text += ", work space " + gib(need.work);
  if (need.adapters) text += ", adapters " + gib(need.adapters);
  return text + fmt::format("; {} of {} may still be used ({})", gib(budget.free()), gib(budget.limit), budget.source);
}

}  // namespace nacelle
