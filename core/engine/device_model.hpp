// The objects behind the backend's ABI that make up a model, or a segment of one, on a device: device, weights, cache,
// plans, stream. RAII over the C table; the engine's thread only, but for what is marked otherwise.
#pragma once

#include <nacelle/backend.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/constrain/constraint.hpp"
#include "core/engine/adapter.hpp"
#include "core/engine/packed_cache.hpp"
#include "core/formats/model_files.hpp"
#include "core/plugin_host/plugin_host.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle {

// One compiled plan and its two step blocks.
struct Plan {
  nacelle_plan* handle = nullptr;
  nacelle_bucket bucket{};
  nacelle_step_layout step{};
  nacelle_output_layout output{};
  std::uint32_t slot = 0;  // to be written next
  // By slot: where the matchers stood whose masks are in the block, by output row.
  std::vector<std::vector<constrain::Matcher::Place>> masks{};
};

struct DeviceModelOptions {
  std::uint32_t context = 0;
  std::uint32_t max_sequences = 0;
  std::uint32_t max_rows = 0;
  std::uint32_t max_guesses = 0;   // rows of a step that tokens are chosen from, beside one a sequence
  std::uint32_t cache_tokens = 0;  // 0: chosen from free memory
  std::uint32_t max_adapters = 0;  // slots of low-rank adapters
  std::uint32_t max_adapter_rank = 0;
  bool embedding_changes = false;  // the graph adds to the tokens' embedding what the host writes
  nacelle_type key_type = NACELLE_TYPE_F16;
  nacelle_type value_type = NACELLE_TYPE_F16;
  std::uint32_t numerics = NACELLE_NUMERICS_STABLE;
  std::string pins;                         // as nacelle_prepare_options.pins
  std::chrono::nanoseconds tune_budget{0};  // 0: kernels are chosen by the tuning cache or by static cost
  bool tune_again = false;                  // what has a verdict is measured too
  std::filesystem::path packed_cache;       // folder; empty: packed weights are not kept
  std::function<void(std::uint64_t, std::uint64_t)> progress, tune_progress;
};

// Row counts of the plans: a step runs in the smallest that holds it.
std::vector<nacelle_bucket> make_buckets(const DeviceModelOptions& options, std::uint32_t vocabulary);

class DeviceModel {
 public:
  // Packs the weights of `graph` (already decomposed for this device). `files` is read during the call.
  DeviceModel(PluginHost& host, const DeviceRecord& device, std::unique_ptr<sdk::Graph> graph, const ModelFiles& files,
              const DeviceModelOptions& options);
  ~DeviceModel();
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  // Once, before the first run: makes a cache of so many blocks a paged group, and states a group of these, and
  // compiles the plans, one a bucket. The buckets follow from the options alone, so that segments of one model have the
  // same.
  void start(std::uint32_t block_tokens, std::uint32_t block_count, std::uint32_t state_count);

  const nacelle_graph& graph() const noexcept { return graph_->view(); }
  // With the sources of the weights.
  const sdk::GraphRecord& record() const noexcept { return graph_->record(); }
  const DeviceRecord& device() const noexcept { return record_; }
  std::uint64_t weight_bytes() const { return api_->weights_bytes(weights_); }
  // Of one block in each paged cache group, together; and of one state in each group of states.
  struct BlockBytes {
    std::uint64_t paged = 0, states = 0;
  };
  BlockBytes block_bytes(std::uint32_t block_tokens);
  // Of the device, now.
  std::uint64_t memory_free() const;

  // True once the backend has said that the device is gone, or its process has died; nothing can be run any more.
  bool lost() const noexcept { return lost_ || losses() != losses_; }
  // Whether loading the model again on this device may do, although it was lost: another process takes its place.
  bool recoverable() const noexcept { return record_.losses; }

  std::vector<Plan>& plans() noexcept { return plans_; }
  const std::vector<Plan>& plans() const noexcept { return plans_; }
  // Host memory of the plan's current slot.
  std::byte* step_block(Plan& plan);
  // Runs the current slot and waits for it; the slot's output block is then valid. Throws Error(kUnavailable) when the
  // device is lost, as the functions below do.
  void run(Plan& plan);
  // Of the graph's cache group, in order; ahead of what runs later.
  void copy_blocks(std::uint32_t group, std::span<const nacelle_block_copy> pairs);
  // Puts an adapter into a slot of the weights that it may change, ahead of what runs later.
  void write_adapter(std::uint32_t slot, const Adapter& adapter);
  const std::byte* output_block(const Plan& plan);
  void read_logits(const Plan& plan, std::uint32_t row, bool adjusted, std::span<float> logits);
  void read_value(const Plan& plan, std::uint32_t value, std::span<float> data);
  void write_value(const Plan& plan, std::uint32_t value, std::span<const float> data);
  // The next step writes the plan's other slot.
  static void advance(Plan& plan) noexcept { plan.slot = (plan.slot + 1) % plan.step.slot_count; }
  nacelle_plan_statistics statistics() const;
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const;
  // What tuning at load did; nothing where there was none or the backend cannot.
  const std::optional<nacelle_tune_report>& tuned() const noexcept { return tuned_; }
  // Measures the device for about half a second; zeros where the backend cannot say. Not while a step runs.
  nacelle_ceilings ceilings() const;

 private:
  void prepare(const ModelFiles& files, const DeviceModelOptions& options);
  void tune(const DeviceModelOptions& options);
  void set_cache_options(std::uint32_t block_tokens);
  void compile();
  void destroy() noexcept;
  // Runs `body(&error)`; throws Error with the backend's message, "cannot" and `what` before it.
  template <class Body>
  void call(const char* what, Body&& body) const {
    nacelle_error* error = nullptr;
    const nacelle_status status = body(&error);
    check(host_->services(), status, error, record_.name + ": cannot " + what);
  }
  // The same, but UNIMPLEMENTED passes for an answer. True where it was done.
  template <class Body>
  bool call_if_offered(const char* what, Body&& body) const {
    nacelle_error* error = nullptr;
    const nacelle_status status = body(&error);
    if (status == NACELLE_UNIMPLEMENTED) {
      if (error) host_->services()->error_destroy(host_->services()->context, error);
      return false;
    }
    check(host_->services(), status, error, record_.name + ": cannot " + what);
    return true;
  }
  void check_hot(nacelle_status status, const char* what);
  std::uint64_t losses() const noexcept { return record_.losses ? record_.losses->load() : 0; }

  PluginHost* host_;
  const nacelle_backend_api* api_;
  DeviceRecord record_;
  std::unique_ptr<sdk::Graph> graph_;
  PackedCache packed_;  // the weights may lie in its files
  nacelle_type key_type_, value_type_;
  std::vector<nacelle_bucket> buckets_;
  std::vector<std::uint32_t> block_counts_;
  nacelle_cache_options cache_options_{};
  nacelle_device* device_ = nullptr;
  nacelle_stream* stream_ = nullptr;
  nacelle_weights* weights_ = nullptr;
  nacelle_cache* cache_ = nullptr;
  std::vector<Plan> plans_;
  std::atomic<const Plan*> last_run_ = nullptr;  // read by statistics() from any thread
  std::atomic<bool> lost_ = false;               // read from any thread
  std::uint64_t losses_ = 0;                     // of the backend's process, before this device was opened
  std::optional<nacelle_tune_report> tuned_;
};

}  // namespace nacelle
