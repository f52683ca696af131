// Running a program: the step block becomes a frame, then all threads walk the steps together.
#include "backends/cpu/plan.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/allocation_count.hpp>
#include <nacelle/graph_view.hpp>
#include <numeric>

namespace nacelle::cpu {

CpuPlan::CpuPlan(const sdk::Host& host, const CpuWeights& weights, const nacelle_cache_options& cache_options,
                 const nacelle_bucket& bucket)
    : host_(host),
      graph_(weights.graph()),
      bucket_(bucket),
      cache_options_(cache_options),
      step_layout_(sdk::make_step_layout(graph_, cache_options, bucket, kSlots)),
      output_layout_(sdk::make_output_layout(bucket, sdk::embedding_width(graph_))),
      threads_(std::max(1u, host.team_size())),
      program_(Compiler(weights, cache_options, bucket, output_layout_, threads_).compile()),
      arena_(host, program_.space_bytes[0]),
      scratch_(host, threads_ * program_.scratch_bytes),
      slots_(kSlots),
      tokens_(bucket.rows),
      identity_(own_blocks(bucket)) {
  for (Slot& slot : slots_) {
    slot.step = sdk::Buffer(host, step_layout_.size, true);
    slot.output = sdk::Buffer(host, output_layout_.size, true);
    slot.values = sdk::Buffer(host, program_.space_bytes[1]);
    slot.changed.resize(bucket.output_rows);
  }
  std::iota(identity_.begin(), identity_.end(), 0u);
  for (const std::uint32_t rows : program_.tile_rows) tiles_.push_back({std::vector<RowTile>(bucket.rows), rows});
  tile_views_.resize(tiles_.size());
}

void CpuPlan::bind(sdk::Cache* cache) {
  auto* own = static_cast<CpuCache*>(cache);
  if (graph_.cache_group_count && !own)
    throw sdk::Failure(NACELLE_FAILED_PRECONDITION, "cpu: the graph has cache groups and no cache was given to bind");
  if (own && (own->block_tokens() != cache_options_.block_tokens || own->key_type() != cache_options_.key_type ||
              own->value_type() != cache_options_.value_type))
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: plan and cache have different blocks or types");
  if (own) own->best.reserve(bucket_.output_rows);
  cache_ = own;
}

nacelle_status CpuPlan::blocks(std::uint32_t slot, void*& step, const void*& output) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  step = slots_[slot].step.data();
  output = slots_[slot].output.data();
  return NACELLE_OK;
}

// False where the header asks for more than the bucket holds.
bool CpuPlan::open_frame(Slot& slot) {
  const nacelle_step_layout& at = step_layout_;
  const auto& header = *slot.step.as<nacelle_step_header>(at.header);
  if (header.version != 1 || header.rows > bucket_.rows || header.sequences > bucket_.sequences ||
      header.output_rows > bucket_.output_rows)
    return false;
  if ((header.flags & NACELLE_STEP_MASKS) && !(bucket_.flags & NACELLE_BUCKET_MASKS)) return false;
  const auto words = [&](std::uint64_t offset) { return slot.step.as<const std::uint32_t>(offset); };
  Frame& f = frame_;
  f.counts[static_cast<std::uint32_t>(Lead::kRows)] = header.rows;
  f.counts[static_cast<std::uint32_t>(Lead::kOutputRows)] = header.output_rows;
  f.counts[static_cast<std::uint32_t>(Lead::kSequences)] = header.sequences;
  f.spaces[static_cast<std::uint32_t>(Space::kArena)] = arena_.data();
  f.spaces[static_cast<std::uint32_t>(Space::kSlot)] = slot.values.data();
  f.tokens = words(at.tokens);
  f.positions = words(at.positions);
  f.row_sequences = words(at.row_sequences);
  f.sequence_starts = words(at.sequence_starts);
  f.sequence_lengths = words(at.sequence_lengths);
  f.block_tables = words(at.block_tables);
  f.output_rows = words(at.output_rows);
  f.adapter_slots = words(at.adapter_slots);
  f.token_types = words(at.token_types);
  f.masks = header.flags & NACELLE_STEP_MASKS ? words(at.masks) : nullptr;
  f.temperatures = slot.step.as<const float>(at.temperatures);
  f.adjustment_starts = words(at.adjustment_starts);
  f.adjustments = slot.step.as<const nacelle_adjustment>(at.adjustments);
  f.table_width = at.table_width;
  f.table_sequences = bucket_.sequences;
  f.output = slot.output.data();
  f.cache = cache_;
  f.tiles = tile_views_.data();
  f.identity = identity_.data();
  f.changed = slot.changed.data();
  return true;
}

// False where a sequence that has rows names a state that the cache does not have, or rows that the step does not.
bool CpuPlan::has_states() const {
  for (std::uint32_t group = 0; group < graph_.cache_group_count; ++group) {
    if (graph_.cache_groups[group]->kind != NACELLE_CACHE_STATE) continue;
    for (std::uint32_t s = 0; s < frame_.count(Lead::kSequences); ++s) {
      const std::uint32_t begin = frame_.sequence_starts[s], end = frame_.sequence_starts[s + 1];
      if (begin == end) continue;
      if (begin > end || end > frame_.count(Lead::kRows) || frame_.table_width == 0 ||
          *frame_.block_table(group, s) >= cache_->block_count(group))
        return false;
    }
  }
  return true;
}

bool CpuPlan::resolve_tokens() {
  const std::uint32_t rows = frame_.count(Lead::kRows);
  for (std::uint32_t r = 0; r < rows; ++r) {
    std::uint32_t token = frame_.tokens[r];
    if (token & NACELLE_TOKEN_FROM_PREVIOUS) {
      const std::uint32_t row = token & ~NACELLE_TOKEN_FROM_PREVIOUS;
      if (!cache_ || row >= cache_->best.size()) return false;
      token = cache_->best[row];
    }
    tokens_[r] = token;
  }
  frame_.tokens = tokens_.data();
  return true;
}

// Cuts each sequence's rows into tiles that attend together.
void CpuPlan::cut_tiles() {
  for (std::size_t i = 0; i < tiles_.size(); ++i) {
    std::uint32_t count = 0, split_count = 0, partials = 0;
    for (std::uint32_t s = 0; s < frame_.count(Lead::kSequences); ++s) {
      const std::uint32_t end = std::min(frame_.sequence_starts[s + 1], frame_.count(Lead::kRows));
      const std::uint32_t splits = splits_of(frame_.sequence_lengths[s]);
      for (std::uint32_t row = frame_.sequence_starts[s]; row < end && count < tiles_[i].list.size();
           row += tiles_[i].rows) {
        const RowTile tile{s, row, std::min(tiles_[i].rows, end - row), splits, split_count, partials};
        tiles_[i].list[count++] = tile;
        split_count += splits;
        partials += splits * tile.count;
      }
    }
    tile_views_[i] = {tiles_[i].list.data(), count, split_count, partials};
  }
}

void CpuPlan::find_changed(Slot& slot) {
  if (!program_.logits) return;
  for (std::uint32_t r = 0; r < frame_.count(Lead::kOutputRows); ++r) {
    const float temperature = frame_.temperatures[r];
    slot.changed[r] = frame_.masks || frame_.adjustment_starts[r] != frame_.adjustment_starts[r + 1] ||
                      (temperature != 0.0f && temperature != 1.0f);
  }
}

// Ends at the first step from `first` on that is worth sharing; does those before it where `run` is true.
std::size_t CpuPlan::run_small_steps(std::size_t first, std::uint32_t threads, bool run) {
  std::size_t i = first;
  for (; i < program_.steps.size(); ++i) {
    const Work work = program_.steps[i].work(frame_, threads);
    if (work.units && !work.small) break;
    // The others wait: the first member's scratch is free.
    if (work.units && run) program_.steps[i].run(frame_, 0, work.units, scratch_.data());
  }
  return i;
}

// Every barrier is a chance to wait for a thread that has lost its CPU, so there are as few as possible: the last to
// arrive does the small steps before it opens the barrier.
void CpuPlan::execute() {
  host_.team_share([this](const nacelle_team_member& member) {
    // A team that has grown since the plan was made brings members without scratch.
    if (member.index >= threads_) return;
    std::byte* scratch = scratch_.data() + member.index * program_.scratch_bytes;
    for (std::size_t i = 0; i < program_.steps.size();) {
      const Step& step = program_.steps[i++];
      const Work work = step.work(frame_, member.count);
      if (work.units == 0) continue;
      const Chunks chunks(work, threads_);
      for (std::uint64_t claimed; (claimed = host_.claim(member, chunks.grain())) < chunks.total();) {
        const auto [begin, end] = chunks[claimed];
        if (begin < end) step.run(frame_, begin, end, scratch);
      }
      const bool last = host_.arrive(member);
      i = run_small_steps(i, member.count, last);
      if (last) host_.open(member);
    }
  });
}

// What the host reads, and what the next step may refer to.
void CpuPlan::publish(Slot& slot) {
  const std::uint32_t outputs = frame_.count(Lead::kOutputRows);
  for (std::uint32_t v = 0; v < graph_.value_count; ++v) {
    if (graph_.values[v]->output != NACELLE_OUTPUT_EMBEDDING || !program_.values[v]) continue;
    const Place& place = *program_.values[v];
    float* to = slot.output.as<float>(output_layout_.embedding);
    for (std::uint32_t row = 0; row < frame_.count(place.lead); ++row)
      std::copy_n(frame_.at(place, row), place.width, to + std::uint64_t{row} * place.width);
  }
  if (cache_ && program_.logits) {
    cache_->best.resize(outputs);
    const auto* ids = slot.output.as<const std::uint32_t>(output_layout_.ids);
    for (std::uint32_t r = 0; r < outputs; ++r) cache_->best[r] = ids[std::uint64_t{r} * bucket_.candidates];
  }
  slot.output_rows = outputs;
}

nacelle_status CpuPlan::run(sdk::Stream&, std::uint32_t slot) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  if (graph_.cache_group_count && !cache_) return NACELLE_FAILED_PRECONDITION;
  Slot& to = slots_[slot];
  to.output_rows = 0;
  const std::uint64_t allocations = sdk::allocation_count.load(std::memory_order_relaxed);
  if (!open_frame(to) || !has_states() || !resolve_tokens()) return NACELLE_INVALID_ARGUMENT;
  cut_tiles();
  find_changed(to);
  execute();
  publish(to);
  allocations_ = static_cast<std::uint32_t>(sdk::allocation_count.load(std::memory_order_relaxed) - allocations);
  return NACELLE_OK;
}

nacelle_status CpuPlan::read_logits(sdk::Stream&, std::uint32_t slot, std::uint32_t row, bool adjusted,
                                    float* logits) noexcept {
  if (slot >= kSlots || !program_.logits || row >= slots_[slot].output_rows) return NACELLE_INVALID_ARGUMENT;
  const Slot& from = slots_[slot];
  const Place& place = adjusted && from.changed[row] ? *program_.adjusted : *program_.logits;
  std::copy_n(from.values.as<const float>(place.offset + row * place.stride), graph_.vocabulary, logits);
  return NACELLE_OK;
}

// The place of a value that outlives its run and holds `count` elements.
const Place* CpuPlan::kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const {
  if (slot >= kSlots || value >= graph_.value_count) return nullptr;
  const Place* place = program_.values[value];
  return place && place->space == Space::kSlot && count <= place->row_count * place->width ? place : nullptr;
}

nacelle_status CpuPlan::read_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                   std::span<float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place) return NACELLE_INVALID_ARGUMENT;
  for (std::uint64_t i = 0, row = 0; i < data.size(); i += place->width, ++row)
    std::copy_n(slots_[slot].values.as<const float>(place->offset + row * place->stride),
                std::min<std::uint64_t>(place->width, data.size() - i), data.data() + i);
  return NACELLE_OK;
}

nacelle_status CpuPlan::write_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                    std::span<const float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place || graph_.values[value]->kind != NACELLE_VALUE_BOUNDARY) return NACELLE_INVALID_ARGUMENT;
  for (std::uint64_t i = 0, row = 0; i < data.size(); i += place->width, ++row)
    std::copy_n(data.data() + i, std::min<std::uint64_t>(place->width, data.size() - i),
                slots_[slot].values.as<float>(place->offset + row * place->stride));
  return NACELLE_OK;
}

nacelle_plan_statistics CpuPlan::statistics() const noexcept {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  statistics.submits_per_step = 1;  // execute() enters the team once
  statistics.allocs_per_step = allocations_;
  statistics.workspace_bytes = arena_.size() + scratch_.size() + kSlots * program_.space_bytes[1];
  return statistics;
}

}  // namespace nacelle::cpu
