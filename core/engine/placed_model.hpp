// A model on the devices that it was placed on: its segments, the values that cross between them by way of the host,
// and the one table of KV blocks that all segments share. The engine's thread only, but for what is marked otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/engine/device_model.hpp"
#include "core/engine/kv_blocks.hpp"
#include "sdk/runtime/segments.hpp"

namespace nacelle {

// A segment and its device; `graph` is decomposed for it.
struct PlacedSegment {
  DeviceRecord device;
  std::unique_ptr<sdk::Graph> graph;
  std::vector<sdk::BoundaryLink> inputs;
  std::vector<std::uint32_t> cache_groups;  // the whole model's behind each of the graph's
};

// True counts of a step.
struct StepCounts {
  std::uint32_t rows = 0, sequences = 0, output_rows = 0;
  std::uint32_t prompt_rows = 0;  // of chunks that are longer than a row
};

class MemoryPlan;

class PlacedModel {
 public:
  // Packs all weights, then shares out memory for the KV cache: options.cache_tokens, or what the tightest device
  // holds.
  PlacedModel(PluginHost& host, std::vector<PlacedSegment> segments, const ModelFiles& files,
              const DeviceModelOptions& options);

  // By segment, in order; the last makes the logits.
  std::size_t size() const noexcept { return segments_.size(); }
  DeviceModel& segment(std::size_t index) noexcept { return *segments_[index].model; }
  const DeviceModel& segment(std::size_t index) const noexcept { return *segments_[index].model; }
  const std::vector<std::uint32_t>& cache_groups(std::size_t index) const { return segments_[index].cache_groups; }
  DeviceModel& last() noexcept { return *segments_.back().model; }

  std::uint32_t vocabulary() const noexcept { return segments_.back().model->graph().vocabulary; }
  KvBlocks& blocks() noexcept { return blocks_; }
  const KvBlocks& blocks() const noexcept { return blocks_; }
  // Makes the copies that blocks() holds for the next step.
  void copy_blocks();
  // Puts an adapter into a slot on all devices, ahead of the next step.
  void write_adapter(std::uint32_t slot, const Adapter& adapter);
  std::uint64_t weight_bytes() const;
  std::uint64_t cache_bytes() const noexcept { return cache_bytes_; }
  // Whether one of the devices is gone. Any thread.
  bool lost() const noexcept;
  // Whether loading the model again may bring back what is gone. Any thread.
  bool recoverable() const noexcept;

  // The index of the smallest plan that holds this much; every segment has a plan of that size.
  std::size_t plan_for(const StepCounts& counts) const;
  Plan& plan(std::size_t segment, std::size_t index) { return segments_[segment].model->plans()[index]; }
  // Of the next step's rows [rows, width], to be written before run(): what is added to what their tokens are embedded
  // as. Empty where the model was loaded without room for that.
  std::span<float> embedding_changes(std::uint32_t rows) noexcept {
    return std::span(embedding_changes_).first(rows * embedding_width_);
  }
  // Runs the segments one after the other on their current slots, whose step blocks are written. Then the output block
  // and logits of the last one's plan can be read.
  void run(std::size_t index, const StepCounts& counts);
  // The next step writes the plans' other slots.
  void advance(std::size_t index);

  // Sums over the segments. Any thread.
  nacelle_plan_statistics statistics() const;
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const;
  std::optional<nacelle_tune_report> tuned() const;
  // Of the first segment's device; see DeviceModel.
  nacelle_ceilings ceilings() const { return segments_.front().model->ceilings(); }

 private:
  struct Loaded {
    std::unique_ptr<DeviceModel> model;
    std::vector<sdk::BoundaryLink> inputs;
    std::vector<std::vector<float>> staging;  // of each input: room for the most rows
    std::vector<std::uint32_t> cache_groups;
  };
  std::uint32_t choose_block_tokens() const;
  // Of each paged group, and the states of each group of these.
  struct Counts {
    std::uint32_t blocks = 0, states = 0;
  };
  Counts count_blocks(MemoryPlan& plan, std::uint32_t block_tokens, const DeviceModelOptions& options);
  void make_blocks(std::uint32_t block_tokens, Counts counts);
  std::span<float> staged(Loaded& segment, std::size_t input, const StepCounts& counts) const;
  void make_embedding_changes(std::uint32_t max_rows);

  std::vector<Loaded> segments_;
  std::uint32_t embedding_change_ = NACELLE_NO_VALUE;  // boundary value of the first one
  std::size_t embedding_width_ = 0;
  std::vector<float> embedding_changes_;
  KvBlocks blocks_;
  std::uint64_t cache_bytes_ = 0;
};

}  // namespace nacelle
