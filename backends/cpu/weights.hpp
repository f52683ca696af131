// A model's weights on the CPU: matrices packed for the matmul kernels, vectors as f32, rope tables, adapters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nacelle/backend.hpp>
#include <nacelle/rope.hpp>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/packing.hpp"
#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {

// A matrix [rows, columns] in packed groups, with the kernel that multiplies by it.
struct PackedMatrix {
  nacelle_type type = NACELLE_TYPE_INVALID;
  std::uint64_t rows = 0, columns = 0;
  std::uint64_t group_bytes = 0;
  const MatmulVariant* variant = nullptr;
  sdk::Buffer memory;

  std::uint32_t groups() const { return static_cast<std::uint32_t>(packed_groups(rows)); }
};

// One low-rank pair: y += scale * (x A^T) B^T. A is [rank, K], B is [N, rank].
struct Adapter {
  std::uint32_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;
};

class CpuWeights final : public sdk::Weights {
 public:
  // Throws sdk::Failure, naming the weight, for what cannot be packed.
  CpuWeights(const sdk::Host& host, IsaSet isa, const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
             const nacelle_weight_source& source, const nacelle_prepare_options& options);

  std::uint64_t bytes() const noexcept override { return bytes_; }
  std::uint64_t cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const override;
  std::unique_ptr<sdk::Cache> create_cache(const nacelle_cache_options& options) override;
  std::unique_ptr<sdk::Plan> compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                     nacelle_step_layout& step, nacelle_output_layout& output) override;
  void write_adapter(sdk::Stream&, const nacelle_adapter_update& update) override;
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const override;

  IsaSet isa() const { return isa_; }
  const VectorKernels& vectors() const { return *choose_table(isa_).vectors; }
  const nacelle_graph& graph() const { return graph_; }
  // Of the value `value`, which is a weight used by EMBEDDING or MATMUL.
  const PackedMatrix& matrix(std::uint32_t value) const { return matrices_[graph_.values[value]->weight]; }
  // Of any other weight: its elements as f32, padded to whole vectors; nullptr for NACELLE_NO_VALUE.
  const float* vector(std::uint32_t value) const;
  const RopeTable& rope_table(const nacelle_op* op) const { return rope_tables_.at(op); }
  // nullptr where the slot holds no adapter for that weight (a value id).
  const Adapter* adapter(std::uint32_t target, std::uint32_t slot) const;
  std::uint32_t max_rank() const { return options_.max_rank; }

 private:
  void load_matrix(const nacelle_weight_source& source, std::uint32_t weight);
  void load_vector(const nacelle_weight_source& source, std::uint32_t weight);
  void make_rope_tables(std::uint32_t context);
  const MatmulVariant* choose(nacelle_type type, std::string_view pins) const;

  sdk::Host host_;
  IsaSet isa_;
  const nacelle_graph& graph_;
  nacelle_prepare_options options_;
  std::string pins_;
  std::uint64_t bytes_ = 0;
  std::vector<PackedMatrix> matrices_;       // by weight; empty where it is a vector
  std::vector<std::vector<float>> vectors_;  // by weight; empty where it is a matrix
  std::map<const nacelle_op*, RopeTable> rope_tables_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Adapter> adapters_;  // by target and slot
};

}  // namespace nacelle::cpu
