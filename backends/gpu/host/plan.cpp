#include "backends/gpu/host/plan.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/allocation_count.hpp>
#include <nacelle/graph_view.hpp>
#include <string>

#include "backends/gpu/host/stream.hpp"

namespace nacelle::gpu {
namespace {

Queue* queue_of(sdk::Stream& stream) { return static_cast<GpuStream&>(stream).queue(); }

}  // namespace

std::atomic<std::uint64_t>& allocation_count() { return sdk::allocation_count; }

GpuPlan::GpuPlan(const GpuWeights& weights, const nacelle_cache_options& cache_options, const nacelle_bucket& bucket)
    : weights_(weights),
      graph_(weights.graph()),
      cache_options_(cache_options),
      bucket_(bucket),
      step_layout_(sdk::make_step_layout(graph_, cache_options, bucket, kSlots)),
      output_layout_(sdk::make_output_layout(bucket, sdk::embedding_width(graph_))),
      program_(Compiler(weights, cache_options, bucket, step_layout_, output_layout_).compile()),
      arena_(weights.context(), program_.arena_bytes),
      slots_(kSlots) {
  Context& context = weights.context();
  for (Slot& slot : slots_) {
    slot.host_step = Memory(context, step_layout_.size, true);
    slot.host_output = Memory(context, std::max<std::uint64_t>(output_layout_.size, 4), true);
    slot.step = Memory(context, step_layout_.size);
    slot.output = Memory(context, std::max<std::uint64_t>(output_layout_.size, 4));
    slot.values = Memory(context, program_.slot_bytes);
    std::memset(slot.host_step.data(), 0, slot.host_step.size());
    std::memset(slot.host_output.data(), 0, slot.host_output.size());
  }
}

GpuPlan::~GpuPlan() { drop_graphs(); }

void GpuPlan::drop_graphs() noexcept {
  for (Slot& slot : slots_)
    if (Graph* graph = std::exchange(slot.graph, nullptr)) weights_.context().destroy(graph);
}

void GpuPlan::bind(sdk::Cache* cache) {
  auto* own = static_cast<GpuCache*>(cache);
  const std::string& backend = weights_.device().backend;
  if (graph_.cache_group_count && !own)
    throw sdk::Failure(NACELLE_FAILED_PRECONDITION,
                       backend + ": the graph has cache groups and no cache was given to bind");
  if (own &&
      (own->options().block_tokens != cache_options_.block_tokens ||
       own->options().key_type != cache_options_.key_type || own->options().value_type != cache_options_.value_type))
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, backend + ": plan and cache have different blocks or types");
  cache_ = own;
  drop_graphs();
  GpuStream stream(weights_.shared_device());
  for (Slot& slot : slots_) capture(slot, stream.queue());
}

void GpuPlan::capture(Slot& slot, Queue* queue) {
  Context& context = weights_.context();
  const Addresses at{arena_.data(), slot.values.data(), slot.step.data(), slot.output.data(), cache_};
  context.begin_capture(queue);
  nacelle_status status = context.copy(queue, slot.step.data(), slot.step.size(), slot.host_step.data(),
                                       slot.step.size(), slot.step.size(), 1, Direction::kToDevice);
  for (const auto& step : program_.steps)
    if (status == NACELLE_OK) status = step(context, queue, at);
  if (status == NACELLE_OK)
    status = context.copy(queue, slot.host_output.data(), slot.output.size(), slot.output.data(), slot.output.size(),
                          slot.output.size(), 1, Direction::kToHost);
  slot.graph = context.end_capture(queue);
  weights_.device().check(status, "recording a kernel of the plan");
}

nacelle_status GpuPlan::blocks(std::uint32_t slot, void*& step, const void*& output) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  step = slots_[slot].host_step.data();
  output = slots_[slot].host_output.data();
  return NACELLE_OK;
}

// What kernels take on trust: counts within the bucket, rows of sequences in order, blocks of states. They look at ids,
// other blocks and positions with bounds of their own.
bool GpuPlan::accepts(const Slot& slot) const {
  const nacelle_step_layout& at = step_layout_;
  const auto& header = *slot.host_step.as<const nacelle_step_header>(at.header);
  if (header.version != 1 || header.rows > bucket_.rows || header.sequences > bucket_.sequences ||
      header.output_rows > bucket_.output_rows)
    return false;
  if ((header.flags & NACELLE_STEP_MASKS) && !(bucket_.flags & NACELLE_BUCKET_MASKS)) return false;
  const auto words = [&](std::uint64_t offset) { return slot.host_step.as<const std::uint32_t>(offset); };
  const std::uint32_t *starts = words(at.sequence_starts), *lengths = words(at.sequence_lengths);
  if (header.sequences && (starts[0] != 0 || starts[header.sequences] != header.rows)) return false;
  if (!header.sequences && header.rows) return false;
  for (std::uint32_t s = 0; s < header.sequences; ++s) {
    if (starts[s] > starts[s + 1] || (graph_.cache_group_count && lengths[s] > bucket_.context)) return false;
    for (std::uint32_t row = starts[s]; row < starts[s + 1]; ++row)
      if (words(at.row_sequences)[row] != s) return false;
    if (starts[s] < starts[s + 1] && !has_states(words(at.block_tables), s)) return false;
  }
  const std::uint32_t best = cache_ ? cache_->best_count : 0;
  for (std::uint32_t row = 0; row < header.rows; ++row) {
    const std::uint32_t token = words(at.tokens)[row];
    if ((token & NACELLE_TOKEN_FROM_PREVIOUS) && (token & ~NACELLE_TOKEN_FROM_PREVIOUS) >= best) return false;
  }
  return true;
}

// Whether a sequence has a state in each group of them: the first entry of its table.
bool GpuPlan::has_states(const std::uint32_t* tables, std::uint32_t sequence) const {
  for (std::uint32_t g = 0; g < graph_.cache_group_count; ++g) {
    const std::uint64_t entry = (std::uint64_t{g} * bucket_.sequences + sequence) * step_layout_.table_width;
    if (graph_.cache_groups[g]->kind == NACELLE_CACHE_STATE && tables[entry] >= cache_->block_count(g)) return false;
  }
  return true;
}

nacelle_status GpuPlan::run(sdk::Stream& stream, std::uint32_t slot) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  Slot& to = slots_[slot];
  if (!to.graph) return NACELLE_FAILED_PRECONDITION;
  to.output_rows = 0;
  if (!accepts(to)) return NACELLE_INVALID_ARGUMENT;
  const std::uint64_t allocations = allocation_count().load(std::memory_order_relaxed);
  const std::uint64_t submissions = weights_.context().submissions;
  const nacelle_status status = weights_.context().launch(queue_of(stream), to.graph);
  allocations_ = static_cast<std::uint32_t>(allocation_count().load(std::memory_order_relaxed) - allocations);
  submissions_ = static_cast<std::uint32_t>(weights_.context().submissions - submissions);
  if (status != NACELLE_OK) return status;
  to.output_rows = to.host_step.as<const nacelle_step_header>(step_layout_.header)->output_rows;
  if (cache_ && program_.logits) cache_->best_count = to.output_rows;
  return NACELLE_OK;
}

nacelle_status GpuPlan::read_logits(sdk::Stream& stream, std::uint32_t slot, std::uint32_t row, bool adjusted,
                                    float* logits) noexcept {
  if (slot >= kSlots || !program_.logits || row >= slots_[slot].output_rows) return NACELLE_INVALID_ARGUMENT;
  const Place& place = adjusted ? *program_.adjusted : *program_.logits;
  const std::uint64_t bytes = std::uint64_t{graph_.vocabulary} * sizeof(float);
  const void* from = slots_[slot].values.as<float>(place.life.offset) + std::uint64_t{row} * place.stride;
  Context& context = weights_.context();
  const nacelle_status status =
      context.copy(queue_of(stream), logits, bytes, from, bytes, bytes, 1, Direction::kToHost);
  return status == NACELLE_OK ? context.synchronize(queue_of(stream)) : status;
}

// The place of a value that outlives its run and holds `count` elements in whole rows.
const Place* GpuPlan::kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const {
  if (slot >= kSlots || value >= graph_.value_count) return nullptr;
  const Place* place = program_.values[value];
  if (!place || !place->in_slot || count % place->width) return nullptr;
  return count / place->width * place->stride * sizeof(float) <= place->life.bytes ? place : nullptr;
}

nacelle_status GpuPlan::read_value(sdk::Stream& stream, std::uint32_t slot, std::uint32_t value,
                                   std::span<float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place) return NACELLE_INVALID_ARGUMENT;
  const std::uint64_t bytes = std::uint64_t{place->width} * sizeof(float);
  Context& context = weights_.context();
  const nacelle_status status =
      context.copy(queue_of(stream), data.data(), bytes, slots_[slot].values.data() + place->life.offset,
                   std::uint64_t{place->stride} * sizeof(float), bytes, data.size() / place->width, Direction::kToHost);
  return status == NACELLE_OK ? context.synchronize(queue_of(stream)) : status;
}

nacelle_status GpuPlan::write_value(sdk::Stream& stream, std::uint32_t slot, std::uint32_t value,
                                    std::span<const float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place || graph_.values[value]->kind != NACELLE_VALUE_BOUNDARY) return NACELLE_INVALID_ARGUMENT;
  const std::uint64_t bytes = std::uint64_t{place->width} * sizeof(float);
  Context& context = weights_.context();
  const nacelle_status status = context.copy(queue_of(stream), slots_[slot].values.data() + place->life.offset,
                                             std::uint64_t{place->stride} * sizeof(float), data.data(), bytes, bytes,
                                             data.size() / place->width, Direction::kToDevice);
  return status == NACELLE_OK ? context.synchronize(queue_of(stream)) : status;
}

nacelle_plan_statistics GpuPlan::statistics() const noexcept {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  statistics.submits_per_step = submissions_;
  statistics.allocs_per_step = allocations_;
  statistics.workspace_bytes = arena_.size();
  for (const Slot& slot : slots_)
    statistics.workspace_bytes += slot.values.size() + slot.step.size() + slot.output.size();
  return statistics;
}

}  // namespace nacelle::gpu
