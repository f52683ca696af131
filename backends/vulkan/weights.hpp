// A model's weights on a device: packed matrices, vectors as f32, and the tables of rope.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/backend.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "backends/vulkan/device.hpp"
#include "backends/vulkan/packing.hpp"

namespace nacelle::vulkan {

struct PackedMatrix {
  PackedShape shape;
  // K is summed in slices of whole headers, as many whatever the rows of a step.
  std::uint32_t slices = 1, slice_blocks = 0;
  bool any_bits = false;  // long products on cooperative matrices: numerics fastest
  Piece memory;

  std::uint64_t codes() const { return memory.address(); }
  std::uint64_t headers() const { return memory.address() + (shape.codes() + shape.extra()) * sizeof(std::uint32_t); }
  std::uint32_t extra_bytes() const { return static_cast<std::uint32_t>(shape.extra() * sizeof(std::uint32_t)); }
};

// As shaders/adapter.comp reads it.
struct AdapterEntry {
  std::uint64_t a, b;  // addresses
  float scale;
  std::uint32_t rank;  // 0: none
};

class VulkanWeights final : public sdk::Weights {
 public:
  // Throws sdk::Failure, naming the weight, for what cannot be packed or does not fit.
  VulkanWeights(const sdk::Host& host, VulkanDevice& device, const nacelle_graph& graph,
                std::span<const nacelle_bucket> buckets, const nacelle_weight_source& source,
                const nacelle_prepare_options& options);

  std::uint64_t bytes() const noexcept override { return bytes_; }
  std::uint64_t cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const override;
  std::unique_ptr<sdk::Cache> create_cache(const nacelle_cache_options& options) override;
  std::unique_ptr<sdk::Plan> compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                     nacelle_step_layout& step, nacelle_output_layout& output) override;
  void write_adapter(sdk::Stream& stream, const nacelle_adapter_update& update) override;
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const override;

  VulkanDevice& device() const { return device_; }
  const nacelle_graph& graph() const { return graph_; }
  // Of a value that is a weight of EMBEDDING or MATMUL.
  const PackedMatrix& matrix(std::uint32_t value) const { return matrices_[graph_.values[value]->weight]; }
  // The address of any other weight's f32 elements; 0 for NACELLE_NO_VALUE.
  std::uint64_t vector(std::uint32_t value) const;
  // The address of [positions][pairs] (cos, sin).
  std::uint64_t rope_table(const nacelle_op* op) const { return rope_tables_.at(op); }
  // The address of a table of shaders/attention.comp with what is added to scores by distance, and its words a head; 0
  // and 0 where the operation has none.
  std::pair<std::uint64_t, std::uint32_t> attention_bias(const nacelle_op* op) const;
  // The address of what a STATE_SCAN has of each head, as shaders/state_scan.comp reads it.
  std::uint64_t scan_vectors(const nacelle_op* op) const { return scan_vectors_.at(op).address(); }
  // The address of a weight's low-rank pairs by slot, and how many slots there are; none where adapters are off.
  std::pair<std::uint64_t, std::uint32_t> adapters(std::uint32_t value) const;
  // Positions that the tables hold, and the most rows and output rows of a step.
  std::uint32_t most_context() const { return most_context_; }
  std::uint32_t most_rows() const { return most_rows_; }
  std::uint32_t most_outputs() const { return most_outputs_; }

 private:
  void load_matrix(const nacelle_weight_source& source, std::uint32_t weight);
  using KernelVisit = std::function<void(const nacelle_kernel_info&)>;
  void visit_matrix_shader(const std::string& pattern, const PackedMatrix& matrix, const KernelVisit& visit) const;
  void load_vector(const nacelle_weight_source& source, std::uint32_t weight);
  void make_rope_tables();
  void make_attention_biases();
  void make_scan_vectors();
  void make_adapters(const nacelle_prepare_options& options);

  sdk::Host host_;
  VulkanDevice& device_;
  const nacelle_graph& graph_;
  std::uint64_t bytes_ = 0;
  bool fastest_;  // numerics
  std::uint32_t most_context_ = 1, most_rows_ = 1, most_outputs_ = 1;
  std::vector<PackedMatrix> matrices_;  // by weight; without memory where it is a vector
  std::vector<std::vector<float>> vectors_;
  std::vector<Piece> vector_memory_;
  std::map<std::vector<float>, Piece> rope_memory_;         // by content: layers share a table
  std::map<const nacelle_op*, std::uint64_t> rope_tables_;  // addresses
  std::map<const nacelle_op*, Piece> attention_biases_, scan_vectors_;
  struct Adapters {
    std::vector<AdapterEntry> host;
    Piece entries;
    std::vector<Piece> a, b;  // by slot, for the largest rank: no plan's addresses change
  };
  std::map<std::uint32_t, Adapters> adapters_;  // by target
  std::uint32_t most_rank_ = 0;
};

}  // namespace nacelle::vulkan
