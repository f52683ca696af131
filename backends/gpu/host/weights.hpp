// A model's weights on a device: matrices packed once for all buckets, vectors as f32, rope tables, adapters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/backend.hpp>
#include <nacelle/rope.hpp>
#include <nacelle/weight_rows.hpp>
#include <span>
#include <string>
#include <vector>

#include "backends/gpu/host/packing.hpp"
#include "backends/gpu/host/runtime.hpp"
#include "backends/gpu/host/variants.hpp"

namespace nacelle::gpu {

// An open device, shared by all that is made on it.
struct OpenDevice {
  sdk::Host host;
  std::string backend;  // "cuda"
  DeviceProperties properties;
  std::unique_ptr<Context> context;

  // Throws sdk::Failure unless `status` is OK: "cuda: carrying weights to the device failed: the device is lost".
  void check(nacelle_status status, const char* what) const {
    if (status == NACELLE_OK) return;
    const char* why = status == NACELLE_DEVICE_LOST     ? " failed: the device is lost"
                      : status == NACELLE_OUT_OF_MEMORY ? " failed: the driver is out of memory"
                                                        : " failed";
    throw sdk::Failure(status, backend + ": " + what + why);
  }
};

// A matrix [rows, columns] as kernels take it, or experts of `outputs` rows one below the other.
struct PackedMatrix {
  const Format* format = nullptr;  // nullptr: the weight is a vector
  PackedWeights packed{};
  std::uint32_t outputs = 0, expert_panels = 0;
  bool tensor = false;  // its class: products on the tensor cores
  Memory memory;
};

struct RopeFrequencies {
  RopeTable table;
  Memory memory;  // f32 [pairs], on the device
};

class GpuWeights final : public sdk::Weights {
 public:
  // Throws sdk::Failure, naming the weight, for what cannot be packed or does not fit.
  GpuWeights(std::shared_ptr<OpenDevice> device, const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
             const nacelle_weight_source& source, const nacelle_prepare_options& options);

  std::uint64_t bytes() const noexcept override { return bytes_; }
  std::uint64_t cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const override;
  std::unique_ptr<sdk::Cache> create_cache(const nacelle_cache_options& options) override;
  std::unique_ptr<sdk::Plan> compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                     nacelle_step_layout& step, nacelle_output_layout& output) override;
  void write_adapter(sdk::Stream& stream, const nacelle_adapter_update& update) override;
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const override;

  OpenDevice& device() const { return *device_; }
  const std::shared_ptr<OpenDevice>& shared_device() const { return device_; }
  Context& context() const { return *device_->context; }
  const nacelle_graph& graph() const { return graph_; }
  std::uint32_t most_outputs() const { return most_outputs_; }  // output rows of any bucket
  // Of a value that is a weight.
  const PackedMatrix& matrix(std::uint32_t value) const { return matrices_[graph_.values[value]->weight]; }
  // nullptr for NACELLE_NO_VALUE.
  const float* vector(std::uint32_t value) const;
  const RopeFrequencies& rope(const nacelle_op* op) const { return ropes_.at(op); }
  // The entries of a weight's adapters by slot, on the device; nullptr without adapters.
  const AdapterEntry* adapters(std::uint32_t value) const;
  // The vendor's library; nullptr where it may not be used or is not there.
  const Blas* vendor_products() const { return vendor_.blas; }
  std::uint32_t adapter_slots() const { return options_.max_adapters; }

 private:
  struct AdapterTable {
    Memory entries;
    std::vector<AdapterEntry> host;
    std::vector<Memory> a, b;  // by slot, of the largest rank: addresses stay
  };
  struct PanelArrays;  // weights.cpp
  // Throws sdk::Failure for what no kernel multiplies by.
  const Format& packed_format(std::uint32_t weight) const;
  void load_matrix(const nacelle_weight_source& source, std::uint32_t weight, bool experts);
  void pack_panels(const nacelle_weight_source& source, std::uint32_t weight, const PanelArrays& arrays);
  // One panel, from row `first` of the `row_count` rows that `rows` has; past them there is padding.
  void pack_rows(std::uint32_t weight, const sdk::WeightRows* rows, std::uint64_t first, std::uint64_t row_count,
                 const PanelOut& to) const;
  void load_vector(const nacelle_weight_source& source, std::uint32_t weight);
  void make_ropes(std::uint32_t context);
  void make_adapters();
  void find_vendor_products();
  Memory upload(const void* data, std::uint64_t bytes);
  void copy_in(void* to, const void* from, std::uint64_t bytes);

  std::shared_ptr<OpenDevice> device_;
  const nacelle_graph& graph_;
  nacelle_prepare_options options_;
  std::uint32_t most_outputs_ = 0;
  std::uint64_t bytes_ = 0;
  VendorState vendor_;
  nacelle_type key_type_ = NACELLE_TYPE_INVALID, value_type_ = NACELLE_TYPE_INVALID;  // of the latest plan's cache
  Queue* queue_ = nullptr;                                                            // while loading
  std::vector<PackedMatrix> matrices_;                                                // by weight
  std::vector<Memory> vectors_;                                                       // by weight
  std::vector<std::vector<float>> host_vectors_;  // by weight: factors of rope tables are read by the host
  std::map<const nacelle_op*, RopeFrequencies> ropes_;
  std::map<std::uint32_t, AdapterTable> adapters_;  // by target value
};

}  // namespace nacelle::gpu
