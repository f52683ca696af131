// A plan: the program of a graph for one bucket, captured once for each slot when the cache is known. A step is one
// submission: the upload of the step block, every kernel, the download of the output block.
#pragma once

#include <atomic>
#include <cstdint>
#include <nacelle/backend.hpp>
#include <vector>

#include "backends/gpu/host/cache.hpp"
#include "backends/gpu/host/compiler.hpp"
#include "backends/gpu/host/weights.hpp"

namespace nacelle::gpu {

// Allocations of this library so far: see nacelle/allocation_count.hpp.
std::atomic<std::uint64_t>& allocation_count();

class GpuPlan final : public sdk::Plan {
 public:
  // `weights` outlives the plan.
  GpuPlan(const GpuWeights& weights, const nacelle_cache_options& cache_options, const nacelle_bucket& bucket);
  ~GpuPlan() override;

  const nacelle_step_layout& step_layout() const { return step_layout_; }
  const nacelle_output_layout& output_layout() const { return output_layout_; }

  void bind(sdk::Cache* cache) override;
  nacelle_status blocks(std::uint32_t slot, void*& step, const void*& output) noexcept override;
  nacelle_status run(sdk::Stream& stream, std::uint32_t slot) noexcept override;
  nacelle_status read_logits(sdk::Stream& stream, std::uint32_t slot, std::uint32_t row, bool adjusted,
                             float* logits) noexcept override;
  // Outputs and boundary values.
  nacelle_status read_value(sdk::Stream& stream, std::uint32_t slot, std::uint32_t value,
                            std::span<float> data) noexcept override;
  nacelle_status write_value(sdk::Stream& stream, std::uint32_t slot, std::uint32_t value,
                             std::span<const float> data) noexcept override;
  nacelle_plan_statistics statistics() const noexcept override;

 private:
  static constexpr std::uint32_t kSlots = 2;
  struct Slot {
    Memory host_step, host_output;  // what the host sees
    Memory step, output, values;    // on the device
    Graph* graph = nullptr;
    std::uint32_t output_rows = 0;
  };

  void capture(Slot& slot, Queue* queue);
  void drop_graphs() noexcept;
  bool accepts(const Slot& slot) const;
  bool has_states(const std::uint32_t* tables, std::uint32_t sequence) const;
  const Place* kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const;

  const GpuWeights& weights_;
  const nacelle_graph& graph_;
  nacelle_cache_options cache_options_;
  nacelle_bucket bucket_;
  nacelle_step_layout step_layout_;
  nacelle_output_layout output_layout_;
  Program program_;
  Memory arena_;
  std::vector<Slot> slots_;
  GpuCache* cache_ = nullptr;
  std::atomic<std::uint32_t> allocations_{0}, submissions_{0};  // of the latest run; statistics() is any thread's
};

}  // namespace nacelle::gpu
