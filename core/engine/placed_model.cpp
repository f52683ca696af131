// Loading segments, and running them in a row.
#include "core/engine/placed_model.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <nacelle/plugin.hpp>
#include <string>

#include "core/base/error.hpp"
#include "core/engine/memory_plan.hpp"

namespace nacelle {
namespace {

std::uint64_t rows_of(std::int64_t extent, const StepCounts& counts) {
  return extent == NACELLE_DIM_SEQUENCES     ? counts.sequences
         : extent == NACELLE_DIM_OUTPUT_ROWS ? counts.output_rows
                                             : counts.rows;
}

// What was planned belongs to the news that memory is out all the same.
template <class Body>
void with_arithmetic(const MemoryPlan& plan, std::uint64_t kv_tokens, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kResource) throw;
    throw Error(ErrorKind::kResource, error.what() + ("; by its file the model " + plan.tell(kv_tokens)));
  }
}

// A segment's part of the whole model's progress.
std::function<void(std::uint64_t, std::uint64_t)> part_of(
    const std::function<void(std::uint64_t, std::uint64_t)>& whole, std::size_t index, std::size_t count) {
  if (!whole || count == 1) return whole;
  return [&whole, index, count](std::uint64_t done, std::uint64_t total) {
    constexpr std::uint64_t kScale = 1000;
    whole(index * kScale + (total ? done * kScale / total : 0), count * kScale);
  };
}

}  // namespace

PlacedModel::PlacedModel(PluginHost& host, std::vector<PlacedSegment> segments, const ModelFiles& files,
                         const DeviceModelOptions& options) {
  MemoryPlan plan(host, files.title(), segments, options);
  plan.check(options.cache_tokens ? options.cache_tokens : options.context);
  for (PlacedSegment& from : segments) {
    DeviceModelOptions own = options;
    own.progress = part_of(options.progress, segments_.size(), segments.size());
    Loaded loaded;
    loaded.inputs = std::move(from.inputs);
    loaded.cache_groups = std::move(from.cache_groups);
    for (const sdk::BoundaryLink& link : loaded.inputs) {
      const nacelle_value& value = *from.graph->view().values[link.to];
      loaded.staging.emplace_back(static_cast<std::size_t>(value.shape[1]) * options.max_rows);
    }
    with_arithmetic(plan, options.context, [&] {
      loaded.model = std::make_unique<DeviceModel>(host, from.device, std::move(from.graph), files, own);
    });
    segments_.push_back(std::move(loaded));
  }
  if (options.embedding_changes) make_embedding_changes(options.max_rows);
  const std::uint32_t block_tokens = choose_block_tokens();
  const Counts counts = count_blocks(plan, block_tokens, options);
  for (Loaded& segment : segments_)
    with_arithmetic(plan, counts.blocks * block_tokens,
                    [&] { segment.model->start(block_tokens, counts.blocks, counts.states); });
  make_blocks(block_tokens, counts);
}

// The one boundary value that no segment makes.
void PlacedModel::make_embedding_changes(std::uint32_t max_rows) {
  const nacelle_graph& graph = segments_[0].model->graph();
  for (std::uint32_t id = 0; id < graph.value_count; ++id)
    if (graph.values[id]->kind == NACELLE_VALUE_BOUNDARY) embedding_change_ = id;
  if (embedding_change_ == NACELLE_NO_VALUE) return;
  embedding_width_ = static_cast<std::size_t>(graph.values[embedding_change_]->shape[1]);
  embedding_changes_.resize(embedding_width_ * max_rows);
}

// One size for all, since they share the tables: the largest that a device likes.
std::uint32_t PlacedModel::choose_block_tokens() const {
  std::uint32_t tokens = 1;
  for (const Loaded& segment : segments_) tokens = std::max(tokens, segment.model->device().block_tokens);
  return tokens;
}

// Blocks for as many tokens as asked, or as memory allows; each paged group gets the same count.
PlacedModel::Counts PlacedModel::count_blocks(MemoryPlan& plan, std::uint32_t block_tokens,
                                              const DeviceModelOptions& options) {
  std::map<std::string, std::uint64_t> block_bytes;  // by memory
  plan.forget_estimates();
  for (Loaded& segment : segments_) {
    MemoryNeed& need = plan.need(segment.model->device());
    const DeviceModel::BlockBytes bytes = segment.model->block_bytes(block_tokens);
    need.weights += segment.model->weight_bytes();
    need.kv_per_token += (bytes.paged + block_tokens - 1) / block_tokens;
    need.state += bytes.states;
    block_bytes[memory_of(segment.model->device())] += bytes.paged;
  }
  const std::uint32_t states = plan.keep_states(MemoryPlan::wanted_states(options));
  const std::uint64_t per_sequence = (options.context + block_tokens - 1) / block_tokens;
  std::uint64_t count = (options.cache_tokens + block_tokens - 1) / block_tokens;
  if (count != 0 && count < per_sequence)
    throw Error(ErrorKind::kInvalidArgument,
                "--cache-tokens " + std::to_string(options.cache_tokens) + " holds no sequence of --context " +
                    std::to_string(options.context) + " tokens; raise the one or lower the other",
                "cache-tokens");
  if (count == 0) {  // all at full length where that fits, else what fits, but a whole sequence at least
    count = per_sequence * options.max_sequences;
    for (const auto& [name, bytes] : block_bytes)
      if (bytes) count = std::min(count, plan.kv_share(name) / bytes);
    count = std::max(count, per_sequence);
  }
  plan.check(count * block_tokens);
  count = std::min<std::uint64_t>(count, std::numeric_limits<std::int32_t>::max() / block_tokens);
  for (const auto& [name, bytes] : block_bytes) cache_bytes_ += bytes * count;
  for (const auto& [name, memory] : plan.memories()) cache_bytes_ += memory.need.states;
  plan.log(count * block_tokens);
  return {static_cast<std::uint32_t>(count), states};
}

void PlacedModel::make_blocks(std::uint32_t block_tokens, Counts counts) {
  blocks_.block_tokens = block_tokens;
  blocks_.can_share = true;
  std::map<std::uint32_t, const nacelle_cache_group*> groups;  // of the whole model
  for (const Loaded& segment : segments_)
    for (std::uint32_t group = 0; group < segment.cache_groups.size(); ++group)
      groups[segment.cache_groups[group]] = segment.model->graph().cache_groups[group];
  for (const auto& [index, group] : groups) {
    blocks_.can_share &= group->kind != NACELLE_CACHE_CROSS;
    if (group->kind == NACELLE_CACHE_STATE) {
      if (!blocks_.states) blocks_.states.emplace(counts.states);
      blocks_.pool_of_group.push_back(KvBlocks::kStates);
      continue;
    }
    blocks_.pool_of_group.push_back(static_cast<std::uint32_t>(blocks_.pools.size()));
    blocks_.windows.push_back(group->window);
    blocks_.pools.emplace_back(counts.blocks);
  }
}

void PlacedModel::copy_blocks() {
  if (blocks_.copies.empty() && blocks_.state_copies.empty()) return;
  for (Loaded& segment : segments_)
    for (std::uint32_t group = 0; group < segment.cache_groups.size(); ++group) {
      const std::uint32_t pool = blocks_.pool_of(segment.cache_groups[group]);
      const bool is_state = pool == KvBlocks::kStates;
      if (!is_state && blocks_.copies.empty()) continue;
      const auto& pairs = is_state ? blocks_.state_copies : blocks_.copies[pool];
      if (!pairs.empty()) segment.model->copy_blocks(group, pairs);
    }
  blocks_.forget_copies();
}

void PlacedModel::write_adapter(std::uint32_t slot, const Adapter& adapter) {
  for (Loaded& segment : segments_) segment.model->write_adapter(slot, adapter);
}

std::uint64_t PlacedModel::weight_bytes() const {
  std::uint64_t bytes = 0;
  for (const Loaded& segment : segments_) bytes += segment.model->weight_bytes();
  return bytes;
}

bool PlacedModel::recoverable() const noexcept {
  return std::all_of(segments_.begin(), segments_.end(),
                     [](const Loaded& segment) { return !segment.model->lost() || segment.model->recoverable(); });
}

bool PlacedModel::lost() const noexcept {
  return std::any_of(segments_.begin(), segments_.end(), [](const Loaded& segment) { return segment.model->lost(); });
}

std::size_t PlacedModel::plan_for(const StepCounts& counts) const {
  const std::vector<Plan>& plans = segments_.back().model->plans();
  const auto holds = [&](const Plan& plan) {
    return plan.bucket.rows >= counts.rows && plan.bucket.sequences >= counts.sequences &&
           plan.bucket.output_rows >= counts.output_rows;
  };
  return static_cast<std::size_t>(std::find_if(plans.begin(), plans.end(), holds) - plans.begin());
}

std::span<float> PlacedModel::staged(Loaded& segment, std::size_t input, const StepCounts& counts) const {
  const nacelle_value& value = *segment.model->graph().values[segment.inputs[input].to];
  return {segment.staging[input].data(), static_cast<std::size_t>(value.shape[1]) * rows_of(value.shape[0], counts)};
}

void PlacedModel::run(std::size_t index, const StepCounts& counts) {
  if (embedding_change_ != NACELLE_NO_VALUE)
    segments_[0].model->write_value(plan(0, index), embedding_change_, embedding_changes(counts.rows));
  for (Loaded& segment : segments_) {
    Plan& own = segment.model->plans()[index];
    for (std::size_t i = 0; i < segment.inputs.size(); ++i) {
      const sdk::BoundaryLink& link = segment.inputs[i];
      const std::span<float> data = staged(segment, i, counts);
      DeviceModel& maker = *segments_[link.segment].model;
      maker.read_value(maker.plans()[index], link.from, data);
      segment.model->write_value(own, link.to, data);
    }
    segment.model->run(own);
  }
}

void PlacedModel::advance(std::size_t index) {
  for (Loaded& segment : segments_) DeviceModel::advance(segment.model->plans()[index]);
}

nacelle_plan_statistics PlacedModel::statistics() const {
  auto all = sdk::make<nacelle_plan_statistics>();
  for (const Loaded& segment : segments_) {
    const nacelle_plan_statistics one = segment.model->statistics();
    all.submits_per_step += one.submits_per_step;
    all.allocs_per_step += one.allocs_per_step;
    all.workspace_bytes += one.workspace_bytes;
  }
  return all;
}

void PlacedModel::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const {
  for (const Loaded& segment : segments_) segment.model->visit_kernels(visitor);
}

std::optional<nacelle_tune_report> PlacedModel::tuned() const {
  std::optional<nacelle_tune_report> all;
  for (const Loaded& segment : segments_) {
    const auto& one = segment.model->tuned();
    if (!one) continue;
    if (!all) all = sdk::make<nacelle_tune_report>();
    all->cases += one->cases;
    all->measured += one->measured;
    all->kept += one->kept;
  }
  return all;
}

}  // namespace nacelle
