// Memory of a plan, and its run.
#include "backends/reference/plan.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/allocation_count.hpp>
#include <string>

namespace nacelle::reference {
namespace {

constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40;  // of a value; keeps products from overflowing

// Rows and width of a value, its symbolic extent still open.
Cell cell_of(const nacelle_value& value) {
  Cell cell;
  if (value.rank == 0 || value.rank > NACELLE_MAX_RANK)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "a value has no rank");
  const std::uint32_t first_inner = value.shape[0] < 0 ? 1 : 0;
  if (value.shape[0] < 0) cell.lead = value.shape[0];
  for (std::uint32_t i = first_inner; i < value.rank; ++i) {
    const std::int64_t extent = value.shape[i];
    if (extent <= 0 || static_cast<std::uint64_t>(extent) > kMaxElements / (cell.inner * cell.width))
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "a value has no usable shape");
    (i + 1 == value.rank ? cell.width : cell.inner) *= static_cast<std::uint64_t>(extent);
  }
  return cell;
}

}  // namespace

ReferencePlan::ReferencePlan(const sdk::Host& host, const ReferenceWeights& weights,
                             const nacelle_cache_options& cache_options, const nacelle_bucket& bucket)
    : host_(host),
      weights_(weights),
      graph_(weights.graph()),
      bucket_(bucket),
      block_tokens_(cache_options.block_tokens),
      tokens_(bucket.rows) {
  for (std::uint32_t v = 0; v < graph_.value_count; ++v) {
    const nacelle_value& value = *graph_.values[v];
    frame_.values.push_back(cell_of(value));
    if (value.output == NACELLE_OUTPUT_LOGITS) logits_ = v;
    if (value.output == NACELLE_OUTPUT_EMBEDDING) embedding_ = v;
  }
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    functions_.push_back(find_function(graph_, *graph_.ops[i], weights.replacements()));
    if (graph_.ops[i]->kind != NACELLE_OP_LOGITS_SELECT) continue;
    selects_ = true;
    logits_ = graph_.ops[i]->inputs[0];
  }
  if (selects_ && frame_.values[logits_].width != graph_.vocabulary)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "logits_select: the logits are not as wide as the graph's vocabulary");
  step_layout_ = sdk::make_step_layout(graph_, cache_options, bucket, kSlots);
  output_layout_ =
      sdk::make_output_layout(bucket, embedding_ == NACELLE_NO_VALUE ? 0 : frame_.values[embedding_].width);
  frame_.weights = &weights;
  frame_.scores.reserve(std::max(bucket.context, bucket.rows));  // they grow with the context
  placement_ = sdk::place_values(graph_, bucket);
  workspace_ = sdk::Buffer(host_, placement_.arena_bytes, true);
  make_slots();
}

void ReferencePlan::make_slots() {
  slots_.resize(kSlots);
  for (Slot& slot : slots_) {
    slot.step = sdk::Buffer(host_, step_layout_.size, true);
    slot.output = sdk::Buffer(host_, output_layout_.size, true);
    if (selects_)
      slot.adjusted_logits =
          sdk::Buffer(host_, std::uint64_t{bucket_.output_rows} * graph_.vocabulary * sizeof(float), true);
    slot.kept = sdk::Buffer(host_, placement_.slot_bytes, true);
  }
}

void ReferencePlan::bind(sdk::Cache* cache) {
  auto* own = static_cast<ReferenceCache*>(cache);
  if (graph_.cache_group_count && !own)
    throw sdk::Failure(NACELLE_FAILED_PRECONDITION, "bind: the graph has cache groups and no cache was given");
  if (own && own->block_tokens() != block_tokens_)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "bind: plan and cache have different block sizes");
  frame_.cache = own;
}

nacelle_status ReferencePlan::blocks(std::uint32_t slot, void*& step, const void*& output) noexcept {
  if (slot >= slots_.size()) return NACELLE_INVALID_ARGUMENT;
  step = slots_[slot].step.data();
  output = slots_[slot].output.data();
  return NACELLE_OK;
}

// Points every value and the output arrays at this slot's memory.
void ReferencePlan::fill_frame(Slot& slot) {
  const Step& step = frame_.step;
  for (std::uint32_t v = 0; v < graph_.value_count; ++v) {
    const nacelle_value& value = *graph_.values[v];
    void*& data = frame_.values[v].data;
    const auto input = [&](std::span<const std::uint32_t> words) { data = const_cast<std::uint32_t*>(words.data()); };
    if (placement_.slot_offsets[v] != sdk::kNowhere)
      data = slot.kept.data() + placement_.slot_offsets[v];
    else if (value.kind == NACELLE_VALUE_WEIGHT)
      data = weights_.matrix(value.weight).data;
    else if (value.kind == NACELLE_VALUE_INTERMEDIATE)
      data = workspace_.data() + placement_.offsets[v];
    else if (value.role == NACELLE_INPUT_TOKENS)
      data = tokens_.data();
    else if (value.role == NACELLE_INPUT_POSITIONS)
      input(step.positions);
    else if (value.role == NACELLE_INPUT_OUTPUT_ROWS)
      input(step.output_rows);
    else if (value.role == NACELLE_INPUT_ADAPTER_SLOTS)
      input(step.adapter_slots);
    else if (value.role == NACELLE_INPUT_TOKEN_TYPES)
      input(step.token_types);
  }
  const std::uint64_t outputs = step.output_row_count, candidates = bucket_.candidates;
  const auto floats = [&](std::uint64_t offset, std::uint64_t width) {
    return Matrix{slot.output.as<float>(offset), outputs, width};
  };
  frame_.selection = {bucket_.candidates,
                      {slot.output.as<std::uint32_t>(output_layout_.ids), outputs, candidates},
                      floats(output_layout_.adjusted, candidates),
                      floats(output_layout_.raw, candidates),
                      floats(output_layout_.logsumexp, 2),
                      {slot.adjusted_logits.as<float>(), outputs, graph_.vocabulary}};
}

void ReferencePlan::resolve_tokens() {
  for (std::uint32_t r = 0; r < frame_.step.row_count; ++r) {
    std::uint32_t token = frame_.step.tokens[r];
    if (token & NACELLE_TOKEN_FROM_PREVIOUS) {
      const std::uint32_t row = token & ~NACELLE_TOKEN_FROM_PREVIOUS;
      if (!frame_.cache || row >= frame_.cache->best.size())
        throw sdk::Failure(NACELLE_INVALID_ARGUMENT,
                           "step block: the previous step has no output row " + std::to_string(row));
      token = frame_.cache->best[row];
    }
    tokens_[r] = token;
  }
}

void ReferencePlan::execute(Slot& slot) {
  if (graph_.cache_group_count && !frame_.cache) throw sdk::Failure(NACELLE_FAILED_PRECONDITION, "run before bind");
  slot.output_row_count = 0;
  frame_.step = read_step(graph_, bucket_, step_layout_, slot.step.data());
  resolve_tokens();
  fill_frame(slot);
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    Call call(frame_, *graph_.ops[i]);
    functions_[i](call);
  }
  publish(slot);
}

// What the host reads, and what the next step may refer to.
void ReferencePlan::publish(Slot& slot) {
  if (embedding_ != NACELLE_NO_VALUE) {
    const Cell& cell = frame_.values[embedding_];
    std::memcpy(slot.output.data() + output_layout_.embedding, cell.data,
                frame_.extent(cell.lead) * cell.inner * cell.width * sizeof(float));
  }
  if (frame_.cache && selects_) {
    frame_.cache->best.resize(frame_.step.output_row_count);
    for (std::uint32_t r = 0; r < frame_.step.output_row_count; ++r)
      frame_.cache->best[r] = frame_.selection.ids.at(r, 0);
  }
  slot.output_row_count = frame_.step.output_row_count;
}

nacelle_status ReferencePlan::run(sdk::Stream&, std::uint32_t slot) noexcept {
  if (slot >= slots_.size()) return NACELLE_INVALID_ARGUMENT;
  try {
    const std::uint64_t allocations = sdk::allocation_count.load(std::memory_order_relaxed);
    execute(slots_[slot]);
    allocations_ = static_cast<std::uint32_t>(sdk::allocation_count.load(std::memory_order_relaxed) - allocations);
    return NACELLE_OK;
  } catch (const sdk::Failure& failure) {
    host_.log(NACELLE_LOG_ERROR, failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    return NACELLE_OUT_OF_MEMORY;
  } catch (const std::exception& error) {  // an author's kernel, in its first hour
    host_.log(NACELLE_LOG_ERROR, error.what());
    return NACELLE_INTERNAL;
  } catch (...) {
    return NACELLE_INTERNAL;
  }
}

nacelle_status ReferencePlan::read_logits(sdk::Stream&, std::uint32_t slot, std::uint32_t row, bool adjusted,
                                          float* logits) noexcept {
  if (slot >= slots_.size() || logits_ == NACELLE_NO_VALUE) return NACELLE_INVALID_ARGUMENT;
  if (row >= slots_[slot].output_row_count) return NACELLE_INVALID_ARGUMENT;
  if (adjusted && !selects_) return NACELLE_UNIMPLEMENTED;
  const float* rows = adjusted ? slots_[slot].adjusted_logits.as<float>()
                               : slots_[slot].kept.as<float>(placement_.slot_offsets[logits_]);
  std::memcpy(logits, rows + std::uint64_t{row} * graph_.vocabulary, graph_.vocabulary * sizeof(float));
  return NACELLE_OK;
}

// The value's memory in the slot, when the host may read or write `count` elements of it.
float* ReferencePlan::kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const {
  if (slot >= slots_.size() || value >= graph_.value_count || placement_.slot_offsets[value] == sdk::kNowhere)
    return nullptr;
  if (count > sdk::most_elements(*graph_.values[value], bucket_)) return nullptr;
  return slots_[slot].kept.as<float>(placement_.slot_offsets[value]);
}

nacelle_status ReferencePlan::read_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                         std::span<float> data) noexcept {
  const float* from = kept(slot, value, data.size());
  if (!from) return NACELLE_INVALID_ARGUMENT;
  std::memcpy(data.data(), from, data.size_bytes());
  return NACELLE_OK;
}

nacelle_status ReferencePlan::write_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                          std::span<const float> data) noexcept {
  float* to = kept(slot, value, data.size());
  if (!to || graph_.values[value]->kind != NACELLE_VALUE_BOUNDARY) return NACELLE_INVALID_ARGUMENT;
  std::memcpy(to, data.data(), data.size_bytes());
  return NACELLE_OK;
}

nacelle_plan_statistics ReferencePlan::statistics() const noexcept {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  statistics.submits_per_step = 1;
  statistics.allocs_per_step = allocations_;
  statistics.workspace_bytes = workspace_.size();
  return statistics;
}

}  // namespace nacelle::reference
