// Runs a case on a backend plugin, through the C ABI alone.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "sdk/conformance/case.hpp"
#include "sdk/conformance/plugin.hpp"

namespace nacelle::conformance {

// A loaded plugin with one of its devices open. Plugins are never unloaded. Throws std::runtime_error with the plugin's
// message.
class Backend {
 public:
  Backend(const std::filesystem::path& plugin, std::uint32_t device_index);
  Backend(const Plugin& plugin, std::uint32_t device_index);
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const nacelle_backend_api& api() const { return *api_; }
  nacelle_device* device() const { return device_; }
  std::uint32_t device_index() const { return index_; }
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  const nacelle_device_info& info() const { return info_; }
  Subject subject() const;
  bool is_reference() const { return info_.kind == NACELLE_DEVICE_REFERENCE; }
  // Bytes that each load of a model may leave in the heap: what the vendor's driver keeps, and no plugin can free.
  std::size_t heap_slack = 0;

  // A device that computes on the CPU without care for speed: long checks are cut short.
  bool is_slow() const { return is_reference() || info_.kind == NACELLE_DEVICE_EMULATED; }

  // The case's graph as the host would have the device run it: what it does not support is in parts. Throws
  // Unsupported.
  std::unique_ptr<sdk::Graph> fit(const Case& of) const;
  // Why the device does not run the case, or cannot make its cache; empty where it does. Throws std::runtime_error for
  // failures that are none of "not implemented".
  std::string refusal(const Case& of);

 private:
  const nacelle_backend_api* api_ = nullptr;
  nacelle_device* device_ = nullptr;
  std::uint32_t index_ = 0;
  nacelle_device_info info_{};
  std::string name_, version_;
};

// What the host writes into a step block beside the rows themselves.
struct StepInput {
  std::vector<Span> spans;
  std::vector<std::uint32_t> tokens = {};  // empty: by rule
  std::vector<float> boundary = {};        // rows of every boundary value; empty: by rule
  std::vector<std::uint32_t> masks = {};   // empty: none
  std::vector<float> temperatures = {};    // empty: 0 for all
  std::vector<std::pair<std::uint32_t, nacelle_adjustment>> adjustments = {};     // by output row, rising
  std::function<void(std::byte* block, const nacelle_step_layout&)> damage = {};  // applied last
};

struct StepOutput {
  std::vector<float> result;  // of the case's result value: true rows only
  std::vector<std::uint32_t> ids;
  std::vector<float> adjusted, raw, logsumexp;
};

// What a Session throws where the backend answers NACELLE_UNIMPLEMENTED: soft, the case is none of its own.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The model of one case on a device: weights packed, cache made, and one plan for each size of step that was announced.
// Every row of a step is an output row. Throws Unsupported, or std::runtime_error for whatever else fails.
class Session {
 public:
  // `source` changes what the weights are read from, before they are.
  Session(Backend& backend, const Case& of, const Steps& sizes, std::uint32_t candidates = 1,
          const std::function<void(nacelle_weight_source&)>& source = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  StepOutput run(const StepInput& step);
  // The same without a check: the status of the run, for steps that must fail.
  nacelle_status try_run(const StepInput& step);
  std::vector<float> read_logits(std::uint32_t row, bool adjusted);
  // Copies all blocks of one sequence to another, in every group.
  void copy_sequence(std::uint32_t from, std::uint32_t to);
  nacelle_plan_statistics statistics() const;

  // Handles and layouts, for checks of single functions. The plan is that of the first size that was announced.
  nacelle_weights* weights() const { return weights_; }
  nacelle_stream* stream() const { return stream_; }
  nacelle_plan* plan() const { return plans_.front().plan; }
  const nacelle_step_layout& step_layout() const { return plans_.front().step; }
  const nacelle_bucket& bucket() const { return plans_.front().bucket; }
  const nacelle_cache_options& cache_options() const { return cache_options_; }
  const nacelle_graph& graph() const { return graph_->view(); }
  // Rows of a weight that prepare gave back.
  std::uint64_t released(std::uint32_t weight) const { return released_.at(weight); }

 private:
  struct PlanEntry {
    nacelle_bucket bucket;
    nacelle_plan* plan;
    nacelle_step_layout step;
    nacelle_output_layout output;
    std::uint32_t slot;
  };
  void check(nacelle_status status, nacelle_error* const& error, const char* what) const;
  void make_source();
  void prepare();
  void add_bucket(const std::vector<Span>& step, std::uint32_t candidates);
  void create_cache();
  void compile();
  void write_adapters();
  PlanEntry& plan_for(const StepInput& step);
  void write_step(PlanEntry& plan, const StepInput& step);
  void write_tables(PlanEntry& plan, const StepInput& step, std::byte* block) const;
  void write_boundaries(PlanEntry& plan, const StepInput& step);
  std::vector<float> read_result(PlanEntry& plan, const StepInput& step);
  std::uint32_t block_of(std::uint32_t sequence, std::uint32_t entry) const;
  std::uint32_t table_width() const;
  void destroy();

  Backend& backend_;
  const Case& case_;
  std::unique_ptr<sdk::Graph> graph_;
  std::vector<std::vector<std::byte>> weight_bytes_;
  std::vector<std::uint64_t> released_;  // rows of each weight
  std::uint32_t block_count_ = 1;
  std::uint32_t sequence_count_ = 1;
  nacelle_weight_source source_{};
  nacelle_cache_options cache_options_{};
  std::vector<std::uint32_t> block_counts_;
  nacelle_weights* weights_ = nullptr;
  nacelle_cache* cache_ = nullptr;
  nacelle_stream* stream_ = nullptr;
  std::vector<nacelle_bucket> buckets_;
  std::vector<PlanEntry> plans_;
  PlanEntry* latest_ = nullptr;
  std::uint32_t latest_slot_ = 0;
};

// The result's rows by sequence and position; pooled rows have position 0. Runs the steps in order.
using RowMap = std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<float>>;
RowMap run_case(Backend& backend, const Case& of, const Steps& steps);
// The same, one row after the other as the steps give them.
std::vector<float> run_flat(Backend& backend, const Case& of, const Steps& steps);

}  // namespace nacelle::conformance
