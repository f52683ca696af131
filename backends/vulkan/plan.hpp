// A compiled bucket: one command buffer a slot, recorded when the plan is bound. A step checks its block, writes how
// many workgroups each dispatch has, and submits once.
#pragma once

#include <atomic>
#include <cstdint>
#include <nacelle/backend.hpp>
#include <span>
#include <vector>

#include "backends/vulkan/cache.hpp"
#include "backends/vulkan/program.hpp"
#include "backends/vulkan/step_check.hpp"
#include "backends/vulkan/weights.hpp"

namespace nacelle::vulkan {

class VulkanPlan final : public sdk::Plan {
 public:
  // `weights` outlives the plan.
  VulkanPlan(const VulkanWeights& weights, const nacelle_cache_options& cache_options, const nacelle_bucket& bucket);
  ~VulkanPlan() override;

  const nacelle_step_layout& step_layout() const { return step_layout_; }
  const nacelle_output_layout& output_layout() const { return output_layout_; }

  void bind(sdk::Cache* cache) override;
  nacelle_status blocks(std::uint32_t slot, void*& step, const void*& output) noexcept override;
  nacelle_status run(sdk::Stream& stream, std::uint32_t slot) noexcept override;
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
  struct Slot {
    Piece step, output;  // the host's blocks
    Piece device_step;   // a copy of the step block in the device's memory, where that is another
    Piece arguments;     // VkDispatchIndirectCommand of each grid
    Piece values;        // Space::kSlot
    VkCommandBuffer commands = VK_NULL_HANDLE;
    std::uint64_t submitted = 0;  // on the timeline
    std::uint32_t output_rows = 0;
  };

  void make_slot(Slot& slot);
  void record(Slot& slot);
  std::uint64_t resolve(const Slot& slot, const Ref& ref) const;
  void write_arguments(const Slot& slot, std::uint32_t longest) const;
  const Place* kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const;
  template <class Body>
  nacelle_status transfer(Slot& slot, Body&& body) noexcept;

  VulkanDevice& device_;
  const nacelle_graph& graph_;
  nacelle_bucket bucket_;
  nacelle_cache_options cache_options_;
  nacelle_step_layout step_layout_;
  nacelle_output_layout output_layout_;
  Program program_;
  StepLimits limits_;
  Piece arena_;
  Piece best_;  // where there is no cache to keep the best tokens in
  std::vector<Slot> slots_;
  VulkanCache* cache_ = nullptr;
  std::atomic<std::uint32_t> submits_{0}, allocations_{0};  // of the latest run; statistics() is any thread's
};

}  // namespace nacelle::vulkan
