// A plan is the graph itself, interpreted operation by operation, with all memory set aside beforehand.
#pragma once

#include <atomic>
#include <cstdint>
#include <nacelle/backend.hpp>
#include <nacelle/value_placement.hpp>
#include <span>
#include <vector>

#include "ops.hpp"

namespace nacelle::reference {

class ReferencePlan final : public sdk::Plan {
 public:
  // `weights` outlives the plan.
  ReferencePlan(const sdk::Host& host, const ReferenceWeights& weights, const nacelle_cache_options& cache_options,
                const nacelle_bucket& bucket);

  const nacelle_step_layout& step_layout() const { return step_layout_; }
  const nacelle_output_layout& output_layout() const { return output_layout_; }

  void bind(sdk::Cache* cache) override;
  nacelle_status blocks(std::uint32_t slot, void*& step, const void*& output) noexcept override;
  nacelle_status run(sdk::Stream&, std::uint32_t slot) noexcept override;
  nacelle_status read_logits(sdk::Stream&, std::uint32_t slot, std::uint32_t row, bool adjusted,
                             float* logits) noexcept override;
  // Any value marked as an output can be read, and any boundary value written.
  nacelle_status read_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                            std::span<float> data) noexcept override;
  nacelle_status write_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                             std::span<const float> data) noexcept override;
  nacelle_plan_statistics statistics() const noexcept override;

 private:
  static constexpr std::uint32_t kSlots = 2;
  // What a slot keeps of its latest run.
  struct Slot {
    sdk::Buffer step, output, adjusted_logits;
    sdk::Buffer kept;  // the values that the host may read or write
    std::uint32_t output_row_count = 0;
  };

  void make_slots();
  void fill_frame(Slot& slot);
  void resolve_tokens();
  void execute(Slot& slot);
  void publish(Slot& slot);
  float* kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const;

  sdk::Host host_;
  const ReferenceWeights& weights_;
  const nacelle_graph& graph_;
  nacelle_bucket bucket_;
  std::uint32_t block_tokens_;
  std::uint32_t logits_ = NACELLE_NO_VALUE;     // the value marked NACELLE_OUTPUT_LOGITS
  std::uint32_t embedding_ = NACELLE_NO_VALUE;  // the value marked NACELLE_OUTPUT_EMBEDDING
  bool selects_ = false;                        // the graph has LOGITS_SELECT
  nacelle_step_layout step_layout_;
  nacelle_output_layout output_layout_;
  sdk::ValuePlacement placement_;
  sdk::Buffer workspace_;
  std::vector<std::uint32_t> tokens_;  // this step's, with those of the previous step filled in
  std::vector<OpFunction> functions_;  // of each operation
  std::vector<Slot> slots_;
  Frame frame_;
  std::atomic<std::uint32_t> allocations_{0};  // in the latest run; statistics() is any thread's
};

}  // namespace nacelle::reference
