// The packed step block of nacelle_step_layout, and the rows of nacelle_output_layout.
#include "core/engine/step.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nacelle/graph_view.hpp>
#include <numeric>

#include "core/engine/host_adapter.hpp"

namespace nacelle {

StepCounts count_step(std::span<const Chunk> chunks) {
  StepCounts counts;
  for (const Chunk& chunk : chunks) {
    counts.rows += chunk.rows();
    if (chunk.count > 1) counts.prompt_rows += chunk.count;
    counts.sequences += 1;
    counts.output_rows += chunk.output_rows();
  }
  return counts;
}

namespace {

// The arrays of a step block, by name.
struct StepArrays {
  StepArrays(const nacelle_step_layout& layout, std::byte* block)
      : header(at<nacelle_step_header>(block, layout.header)),
        tokens(at<std::uint32_t>(block, layout.tokens)),
        positions(at<std::uint32_t>(block, layout.positions)),
        row_sequences(at<std::uint32_t>(block, layout.row_sequences)),
        sequence_starts(at<std::uint32_t>(block, layout.sequence_starts)),
        sequence_lengths(at<std::uint32_t>(block, layout.sequence_lengths)),
        block_tables(at<std::uint32_t>(block, layout.block_tables)),
        output_rows(at<std::uint32_t>(block, layout.output_rows)),
        adapter_slots(at<std::uint32_t>(block, layout.adapter_slots)),
        token_types(layout.token_types ? at<std::uint32_t>(block, layout.token_types) : nullptr),
        masks(at<std::uint32_t>(block, layout.masks)),
        temperatures(at<float>(block, layout.temperatures)),
        adjustment_starts(at<std::uint32_t>(block, layout.adjustment_starts)),
        adjustments(at<nacelle_adjustment>(block, layout.adjustments)) {}

  template <class T>
  static T* at(std::byte* block, std::uint64_t offset) {
    return reinterpret_cast<T*>(block + offset);
  }

  nacelle_step_header* header;
  std::uint32_t *tokens, *positions, *row_sequences, *sequence_starts, *sequence_lengths, *block_tables, *output_rows,
      *adapter_slots, *token_types, *masks;
  float* temperatures;
  std::uint32_t* adjustment_starts;
  nacelle_adjustment* adjustments;
};

// Adjustments and temperature of one output row; false where the block has no room for them.
bool write_sampling(const Sequence& sequence, std::uint32_t capacity, std::uint32_t output, StepArrays& step) {
  const auto entries = sequence.adjustments.entries();
  const std::uint32_t start = step.adjustment_starts[output];
  const bool fits = entries.size() <= capacity - start;
  if (fits) std::copy(entries.begin(), entries.end(), step.adjustments + start);
  step.adjustment_starts[output + 1] = start + (fits ? static_cast<std::uint32_t>(entries.size()) : 0);
  step.temperatures[output] = fits ? sequence.request.sampling.temperature : 1.0f;
  return fits;
}

// What the sequence's adapter does to the head; nullptr: nothing, or nobody reads its logits.
const AdapterPart* head_of(const Sequence& sequence) {
  const Adapter* adapter = sequence.request.embed ? nullptr : sequence.request.adapter.get();
  return adapter && adapter->head ? &*adapter->head : nullptr;
}

// What adapters change in the rows' embeddings; `rows` has all of the step's.
void write_embeddings(std::span<const Chunk> chunks, std::span<float> rows) {
  std::fill(rows.begin(), rows.end(), 0.0f);
  std::size_t count = 0, row = 0;
  for (const Chunk& chunk : chunks) count += chunk.rows();
  const std::size_t width = rows.size() / count;
  for (const Chunk& chunk : chunks) {
    const Adapter* adapter = chunk.sequence->request.adapter.get();
    for (std::uint32_t i = 0; i < chunk.rows(); ++i, ++row)
      if (adapter && adapter->embedding)
        add_embedding(*adapter->embedding, chunk.token(i), rows.subspan(row * width, width));
  }
}

// An output row that is wanted as the model gives it.
void leave_plain(std::uint32_t output, StepArrays& step) {
  step.adjustment_starts[output + 1] = step.adjustment_starts[output];
  step.temperatures[output] = 1.0f;
}

// The masks of the output rows; true where any row has one. Words of a row without are all ones. `there`: of the masks
// that the block holds from earlier steps. Most rows of a long text have the same one again, and a mask of a real
// vocabulary is 300 cache lines.
bool write_masks(std::span<const Chunk> chunks, std::vector<SequenceConstraint::Place>& there, std::uint32_t* masks) {
  static constexpr SequenceConstraint::Place kUnknown{}, kAll{.machine = 0, .state = 1};
  std::size_t words = 0, row = 0;
  for (const Chunk& chunk : chunks)
    if (chunk.wants_logits() && chunk.sequence->constraint) words = chunk.sequence->constraint->words();
  if (words == 0) return false;
  for (const Chunk& chunk : chunks) {
    SequenceConstraint* own = chunk.sequence->constraint ? &*chunk.sequence->constraint : nullptr;
    for (std::uint32_t i = 0; i < chunk.output_rows(); ++i, ++row, masks += words) {
      SequenceConstraint* constraint = i < chunk.scores ? nullptr : own;
      const std::uint32_t nth = i - chunk.scores;
      const SequenceConstraint::Place& place = constraint ? constraint->place(nth) : kAll;
      if (row == there.size()) there.push_back(kUnknown);
      if (there[row] == place) continue;
      there[row] = kUnknown;  // should it throw
      if (constraint)
        constraint->write_mask(nth, {masks, words});
      else
        std::fill_n(masks, words, 0xFFFFFFFFu);
      there[row] = place;
    }
  }
  return true;
}

// The block of one segment, whose cache groups are `groups` of the sequences' tables.
void write_segment(std::span<const Chunk> chunks, Plan& plan, std::span<const std::uint32_t> groups, std::byte* block,
                   std::vector<bool>& host_adjusted) {
  StepArrays step(plan.step, block);
  host_adjusted.clear();
  std::uint32_t row = 0, output = 0, context = 0;
  step.adjustment_starts[0] = 0;
  for (std::uint32_t index = 0; index < chunks.size(); ++index) {
    const Chunk& chunk = chunks[index];
    const Sequence& sequence = *chunk.sequence;
    step.sequence_starts[index] = row;
    step.sequence_lengths[index] = chunk.begin + chunk.rows();
    context = std::max(context, chunk.begin + chunk.rows());
    for (std::uint32_t i = 0; i < chunk.rows(); ++i, ++row) {
      step.tokens[row] = static_cast<std::uint32_t>(chunk.token(i));
      step.positions[row] = chunk.begin + i;
      step.row_sequences[row] = index;
      step.adapter_slots[row] = sequence.adapter.slot();
      if (step.token_types) step.token_types[row] = chunk.begin + i >= sequence.request.second_text;
    }
    const std::size_t stride = static_cast<std::size_t>(plan.bucket.sequences) * plan.step.table_width;
    for (std::size_t group = 0; group < groups.size(); ++group) {
      const auto table = sequence.blocks.table(groups[group]);
      std::copy(table.begin(), table.end(), step.block_tables + group * stride + index * plan.step.table_width);
    }
    for (std::uint32_t i = 0; i < chunk.output_rows(); ++i, ++output) {
      step.output_rows[output] = row - chunk.rows() + chunk.output_row(i);
      const bool plain = i < chunk.scores;
      if (plain) leave_plain(output, step);
      const bool fits = plain || write_sampling(sequence, plan.bucket.adjustments, output, step);
      host_adjusted.push_back(!fits || (!plain && head_of(sequence)));
    }
  }
  step.sequence_starts[chunks.size()] = row;
  plan.masks.resize(plan.step.slot_count);
  const bool masked =
      (plan.bucket.flags & NACELLE_BUCKET_MASKS) && write_masks(chunks, plan.masks[plan.slot], step.masks);
  *step.header = {1, row, static_cast<std::uint32_t>(chunks.size()), output, context, masked ? NACELLE_STEP_MASKS : 0};
}

float logsumexp(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + static_cast<float>(std::log(sum));
}

}  // namespace

// The last segment comes last: it selects, so what its block has no room for is adjusted on the host.
void write_step(std::span<const Chunk> chunks, PlacedModel& model, std::size_t index,
                std::vector<bool>& host_adjusted) {
  for (std::size_t segment = 0; segment < model.size(); ++segment) {
    Plan& plan = model.plan(segment, index);
    write_segment(chunks, plan, model.cache_groups(segment), model.segment(segment).step_block(plan), host_adjusted);
  }
  if (const auto rows = model.embedding_changes(count_step(chunks).rows); !rows.empty()) write_embeddings(chunks, rows);
}

DeviceRow::DeviceRow(PlacedModel& model) : device_(model.last()), whole_(model.vocabulary()) {}

void DeviceRow::select(std::uint32_t row, Sequence& sequence, bool host_adjusted, std::uint32_t nth) {
  const std::byte* block = device_.output_block(*plan_);
  const std::size_t k = plan_->bucket.candidates;
  const auto array = [&](std::uint64_t offset) { return reinterpret_cast<const float*>(block + offset) + row * k; };
  ids_ = {reinterpret_cast<const std::uint32_t*>(block + plan_->output.ids) + row * k, k};
  adjusted_ = {array(plan_->output.adjusted), k};
  raw_ = {array(plan_->output.raw), k};
  const float* logsumexp = reinterpret_cast<const float*>(block + plan_->output.logsumexp) + 2 * row;
  logsumexp_raw_ = logsumexp[0];
  logsumexp_adjusted_ = logsumexp[1];
  row_ = row;
  nth_ = nth;
  sequence_ = &sequence;
  host_adjusted_ = host_adjusted;
  head_ = head_of(sequence);
  with_head_.clear();
  if (host_adjusted || head_) adjust_on_host();
}

std::span<const float> DeviceRow::whole_raw() {
  if (!with_head_.empty()) {
    std::copy(with_head_.begin(), with_head_.end(), whole_.begin());
    return whole_;
  }
  device_.read_logits(*plan_, row_, false, whole_);
  if (head_) {
    add_head(*head_, sequence_->request.adapter->head_soft_cap, embedding(), whole_);
    with_head_ = whole_;
  }
  return whole_;
}

std::span<const float> DeviceRow::whole_adjusted() {
  if (head_ || host_adjusted_)
    whole_raw();
  else
    device_.read_logits(*plan_, row_, true, whole_);
  if (!host_adjusted_) return whole_;
  if (sequence_->constraint) {
    mask_.resize(sequence_->constraint->words());
    sequence_->constraint->write_mask(nth_, mask_);
    apply_mask(whole_, mask_);
  }
  apply_adjustments(whole_, sequence_->adjustments.entries(), sequence_->request.sampling.temperature);
  return whole_;
}

std::span<const float> DeviceRow::embedding() const {
  const std::size_t width = sdk::embedding_width(device_.graph());
  if (width == 0) return {};
  const std::byte* block = device_.output_block(*plan_) + plan_->output.embedding;
  return {reinterpret_cast<const float*>(block) + row_ * width, width};
}

// What the device would have answered, had the step block held the row's adjustments, and the plan the change of the
// head.
void DeviceRow::adjust_on_host() {
  const std::size_t k = ids_.size();
  const auto logits = whole_adjusted();
  own_ids_.resize(logits.size());
  std::iota(own_ids_.begin(), own_ids_.end(), 0u);
  std::partial_sort(
      own_ids_.begin(), own_ids_.begin() + static_cast<std::ptrdiff_t>(k), own_ids_.end(),
      [&](std::uint32_t a, std::uint32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  own_ids_.resize(k);
  own_adjusted_.clear();
  for (const std::uint32_t id : own_ids_) own_adjusted_.push_back(logits[id]);
  logsumexp_adjusted_ = logsumexp(logits);
  const auto raw_row = whole_raw();
  if (head_) logsumexp_raw_ = logsumexp(raw_row);
  own_raw_.clear();
  for (const std::uint32_t id : own_ids_) own_raw_.push_back(raw_row[id]);
  ids_ = own_ids_;
  adjusted_ = own_adjusted_;
  raw_ = own_raw_;
}

}  // namespace nacelle
