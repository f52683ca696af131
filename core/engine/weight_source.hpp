// Serves a graph's weights to a backend from a model's mapped files.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/engine/packed_cache.hpp"
#include "core/formats/file_tensors.hpp"
#include "sdk/runtime/graph.hpp"
#include "sdk/runtime/weight_reader.hpp"

namespace nacelle {

// Behind one nacelle_weight_source; lives while a backend prepares. Different weights may be read from different
// threads.
class WeightSourceAdapter {
 public:
  WeightSourceAdapter(const nacelle_host& host, const sdk::Graph& graph, const ModelFiles& files, PackedCache& packed,
                      std::function<void(std::uint64_t, std::uint64_t)> progress);
  const nacelle_weight_source* table() const noexcept { return &table_; }

 private:
  sdk::WeightReader& reader(std::uint32_t weight);
  sdk::WeightReader& companion(std::uint32_t weight, std::uint32_t role);

  const nacelle_host& host_;
  const sdk::Graph& graph_;
  FileTensors tensors_;
  PackedCache& packed_;
  std::function<void(std::uint64_t, std::uint64_t)> progress_;
  std::mutex mutex_;  // of the maps; each reader has one user at a time
  std::vector<std::unique_ptr<sdk::WeightReader>> readers_;
  std::vector<std::vector<std::unique_ptr<sdk::WeightReader>>> companions_;
  nacelle_weight_source table_;
};

}  // namespace nacelle
