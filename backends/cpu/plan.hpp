// A compiled bucket: the program, its memory, and one entry of the host's thread team a step.
#pragma once

#include <atomic>
#include <cstdint>
#include <nacelle/backend.hpp>
#include <span>
#include <vector>

#include "backends/cpu/cache.hpp"
#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {

class CpuPlan final : public sdk::Plan {
 public:
  // `weights` outlives the plan.
  CpuPlan(const sdk::Host& host, const CpuWeights& weights, const nacelle_cache_options& cache_options,
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
  struct Slot {
    sdk::Buffer step, output;
    sdk::Buffer values;  // Space::kSlot: what may be read after the run
    std::vector<std::uint8_t> changed;
    std::uint32_t output_rows = 0;  // of the latest run
  };
  struct Tiles {
    std::vector<RowTile> list;  // with room for the most
    std::uint32_t rows;
  };

  bool open_frame(Slot& slot);
  bool has_states() const;
  bool resolve_tokens();
  void cut_tiles();
  void find_changed(Slot& slot);
  void execute();
  std::size_t run_small_steps(std::size_t first, std::uint32_t threads, bool run);
  void publish(Slot& slot);
  const Place* kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const;

  sdk::Host host_;
  const nacelle_graph& graph_;
  nacelle_bucket bucket_;
  nacelle_cache_options cache_options_;
  nacelle_step_layout step_layout_;
  nacelle_output_layout output_layout_;
  std::uint32_t threads_;
  Program program_;
  sdk::Buffer arena_, scratch_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> tokens_;  // this step's, with those of the previous step filled in
  std::vector<std::uint32_t> identity_;
  std::vector<Tiles> tiles_;
  std::vector<RowTiles> tile_views_;
  CpuCache* cache_ = nullptr;
  Frame frame_{};
  std::atomic<std::uint32_t> allocations_{0};  // in the latest run; statistics() is any thread's
};

}  // namespace nacelle::cpu
