// A model's weights, all of them decoded to f32 once, with what else is fixed for the life of the model: the rope
// tables and the low-rank adapters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/backend.hpp>
#include <nacelle/rope.hpp>
#include <span>
#include <vector>

#include "replacement.hpp"
#include "view.hpp"

namespace nacelle::reference {

class ReferenceWeights final : public sdk::Weights {
 public:
  // `replacements` outlive it. Throws sdk::Failure, naming the weight or operation, for what this backend does not do.
  ReferenceWeights(const sdk::Host& host, const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                   const nacelle_weight_source& source, const nacelle_prepare_options& options,
                   std::span<const Replacement> replacements = {});

  std::uint64_t bytes() const noexcept override { return bytes_; }
  std::uint64_t cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const override;
  std::unique_ptr<sdk::Cache> create_cache(const nacelle_cache_options& options) override;
  std::unique_ptr<sdk::Plan> compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                     nacelle_step_layout& step, nacelle_output_layout& output) override;
  void write_adapter(sdk::Stream&, const nacelle_adapter_update& update) override;

  const sdk::Host& host() const { return host_; }
  std::uint32_t numerics() const { return numerics_; }
  std::span<const Replacement> replacements() const { return replacements_; }
  const nacelle_graph& graph() const { return graph_; }
  const Matrix& matrix(std::uint32_t weight) const { return matrices_[weight]; }
  const RopeTable& rope_table(const nacelle_op* op) const { return rope_tables_.at(op); }
  const sdk::AdapterSlots& adapters() const { return adapters_; }

 private:
  void load_weight(const nacelle_weight_source& source, std::uint32_t weight);
  void make_rope_tables(std::uint32_t context);

  sdk::Host host_;
  const nacelle_graph& graph_;
  std::span<const Replacement> replacements_;
  std::uint32_t numerics_;
  std::uint64_t bytes_ = 0;
  std::vector<sdk::Buffer> memory_;  // of each weight
  std::vector<Matrix> matrices_;
  std::map<const nacelle_op*, RopeTable> rope_tables_;
  sdk::AdapterSlots adapters_;
};

}  // namespace nacelle::reference
