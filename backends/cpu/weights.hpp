// A model's weights on the CPU: matrices packed for the matmul kernels, vectors as f32, rope tables, adapters.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/backend.hpp>
#include <nacelle/rope.hpp>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/packing.hpp"
#include "backends/cpu/registry.hpp"
#include "backends/cpu/selection.hpp"

namespace nacelle::cpu {

// Packed bytes, in memory of a CpuWeights or in a file that the host has mapped.
struct PackedBytes {
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;

  std::uint64_t size() const { return bytes; }
  template <class T>
  const T* as(std::uint64_t offset = 0) const {
    return reinterpret_cast<const T*>(data + offset);
  }
};

// A matrix [rows, columns] in packed groups, with the kernel that multiplies by it; or as many of them as there are
// experts, each in groups of its own.
struct PackedMatrix {
  nacelle_type type = NACELLE_TYPE_INVALID;
  std::uint64_t rows = 0, columns = 0;
  std::uint64_t experts = 1;
  std::uint64_t group_bytes = 0;
  const MatmulVariant* variant = nullptr;
  PackedBytes memory;

  std::uint32_t groups() const { return static_cast<std::uint32_t>(packed_groups(rows)); }
  const std::uint8_t* group(std::uint64_t expert, std::uint64_t index) const {
    return memory.as<std::uint8_t>((expert * groups() + index) * group_bytes);
  }
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
  nacelle_tune_report tune(const nacelle_tune_options& options) override;

  IsaSet isa() const { return isa_; }
  const VectorKernels& vectors() const { return *choose_table(isa_).vectors; }
  const RecurrentKernels& recurrent() const { return *choose_table(isa_).recurrent; }
  const nacelle_graph& graph() const { return graph_; }
  // Of the value `value`, which is a weight used by EMBEDDING or a matmul; with the variant for the plan that is being
  // compiled.
  const PackedMatrix& matrix(std::uint32_t value) const {
    const std::uint32_t weight = graph_.values[value]->weight;
    return matrices_[selection_.rows_of(weight, compiling_)][weight];
  }
  // Of any other weight: its elements as f32, padded to whole vectors; nullptr for NACELLE_NO_VALUE.
  const float* vector(std::uint32_t value) const;
  // Of the filters [C, L] of a CONVOLUTION: [L][C].
  const float* filters(std::uint32_t value) const { return filters_.at(graph_.values[value]->weight).data(); }
  const RopeTable& rope_table(const nacelle_op* op) const { return rope_tables_.at(op); }
  const sdk::AdapterSlots& adapters() const { return adapters_; }
  std::uint32_t max_rank() const { return max_rank_; }

 private:
  // Everything about a matrix but its bytes.
  void lay_out_matrix(std::uint32_t weight);
  // Room for all matrices, one after the other as a step reads them. Many are smaller than a huge page: in a block of
  // their own they would lie on small pages, where each 4 KiB cost a walk of the page tables and the processor fetches
  // no further ahead. And who has come to the end of one has already fetched the start of the next.
  void allocate_matrices();
  std::vector<nacelle_packed_block> packed_blocks() const;  // of all matrices, as a step reads them
  // From the packed cache. False where there is none, or nothing of use.
  bool find_matrices(const nacelle_weight_source& source);
  void keep_matrices(const nacelle_weight_source& source) const;
  void load_rows(const nacelle_weight_source& source, std::uint32_t weight, std::uint64_t expert);
  void load_vector(const nacelle_weight_source& source, std::uint32_t weight);
  void make_filters();
  void make_rope_tables(std::uint32_t context);
  // Gives each matrix the variants of the selection.
  void apply_selection();

  sdk::Host host_;
  IsaSet isa_;
  const nacelle_graph& graph_;
  std::uint32_t max_rank_;
  sdk::AdapterSlots adapters_;
  Selection selection_;
  std::uint64_t bytes_ = 0;
  std::vector<std::uint32_t> order_;  // the matrices' weights, as a step reads them
  sdk::Buffer memory_;                // of all matrices; empty where they lie in a file
  // By row bucket and weight, empty where it is a vector: the same memory under the bucket's variant. Steps of compiled
  // plans keep these addresses.
  std::array<std::vector<PackedMatrix>, sdk::kRowBucketCount> matrices_;
  std::vector<std::vector<float>> vectors_;              // by weight; empty where it is a matrix
  std::map<std::uint32_t, std::vector<float>> filters_;  // by weight
  nacelle_bucket compiling_{};
  bool compiled_ = false;
  std::map<const nacelle_op*, RopeTable> rope_tables_;
};

}  // namespace nacelle::cpu
