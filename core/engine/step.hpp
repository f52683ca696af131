// Between the scheduler and the device: writes chunks into a step block, and reads an output block as rows of logits.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/engine/placed_model.hpp"
#include "core/engine/sampler.hpp"
#include "core/engine/scheduler.hpp"

namespace nacelle {

StepCounts count_step(std::span<const Chunk> chunks);

// Writes the step blocks of plan `index` of every segment. A row whose adjustments do not fit is left as the model
// gives it, and `host_adjusted[row]` is set: the sampler then works on the whole row; so it does where the sequence's
// adapter changes the head. Rows of constrained sequences get their masks.
void write_step(std::span<const Chunk> chunks, PlacedModel& model, std::size_t index, std::vector<bool>& host_adjusted);

// One output row of the step that ran last.
class DeviceRow : public LogitsRow {
 public:
  explicit DeviceRow(PlacedModel& model);
  // The rows from now on are those of this plan's latest run.
  void read(const Plan& plan) { plan_ = &plan; }
  // Points at output row `row`, which belongs to `sequence` and stands behind the first `nth` tokens of its guess.
  void select(std::uint32_t row, Sequence& sequence, bool host_adjusted, std::uint32_t nth = 0);

  std::span<const std::uint32_t> ids() const override { return ids_; }
  std::span<const float> adjusted() const override { return adjusted_; }
  std::span<const float> raw() const override { return raw_; }
  float logsumexp_adjusted() const override { return logsumexp_adjusted_; }
  float logsumexp_raw() const override { return logsumexp_raw_; }
  std::span<const float> whole_adjusted() override;
  std::span<const float> whole_raw() override;
  // What the head made the logits of; empty where the model has no such output.
  std::span<const float> embedding() const;
  bool is_adjusted() const noexcept { return sequence_->constraint || !sequence_->adjustments.entries().empty(); }

 private:
  void adjust_on_host();

  DeviceModel& device_;
  const Plan* plan_ = nullptr;
  const AdapterPart* head_ = nullptr;  // of the sequence's adapter
  std::vector<float> with_head_;       // the row as it gives it; empty: not made yet
  std::vector<float> whole_;
  std::vector<std::uint32_t> mask_;  // of whole_adjusted(), where it is adjusted here
  Sequence* sequence_ = nullptr;
  std::uint32_t row_ = 0, nth_ = 0;
  bool host_adjusted_ = false;
  float logsumexp_adjusted_ = 0, logsumexp_raw_ = 0;
  std::span<const std::uint32_t> ids_;
  std::span<const float> adjusted_, raw_;
  std::vector<std::uint32_t> own_ids_;
  std::vector<float> own_adjusted_, own_raw_;
};

}  // namespace nacelle
