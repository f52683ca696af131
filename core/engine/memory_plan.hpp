// What a model takes of each memory that it is placed in, worked out before it is loaded.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/engine/device_model.hpp"

namespace nacelle {

// Devices that compute in the host's memory share it.
std::string memory_of(const DeviceRecord& device);

// Bytes in one memory.
struct MemoryNeed {
  std::uint64_t weights = 0;
  std::uint64_t work = 0;      // activations, step blocks, logits; of all plans together
  std::uint64_t adapters = 0;  // slots
  std::uint64_t kv_per_token = 0;
  std::uint64_t state = 0;   // of one sequence, of models that keep one
  std::uint64_t states = 0;  // of all of them

  MemoryNeed& operator+=(const MemoryNeed& other) noexcept;
  std::uint64_t fixed() const noexcept { return weights + work + adapters + states; }
};

// Of a segment, from its graph alone. Packed weights may be larger than stored ones; `work` is meant to be no less than
// what a backend takes.
MemoryNeed estimate_need(const sdk::GraphRecord& graph, const DeviceModelOptions& options);

struct PlacedSegment;

// All memories of one model, as they are before it is loaded.
class MemoryPlan {
 public:
  struct Memory {
    MemoryBudget budget;
    MemoryNeed need;
    std::uint64_t total(std::uint64_t kv_tokens) const { return need.fixed() + need.kv_per_token * kv_tokens; }
    std::string tell(std::uint64_t kv_tokens) const;
  };
  // `what`: the model, as messages call it.
  MemoryPlan(const PluginHost& host, std::string what, const std::vector<PlacedSegment>& segments,
             const DeviceModelOptions& options);

  // Of the device's memory. Weights, KV and states are known once weights are packed: forget_estimates() sets them to
  // zero.
  MemoryNeed& need(const DeviceRecord& device) { return memories_.at(memory_of(device)).need; }
  void forget_estimates();

  // How many states are kept, of `wanted` at most: one at least, and beside keys and values no more than fit in a
  // quarter of their share. From then on they are part of the need. 0 where the model keeps none.
  std::uint32_t keep_states(std::uint32_t wanted);
  // What is wanted: one a sequence, and as many copies for the prefix cache.
  static std::uint32_t wanted_states(const DeviceModelOptions& options) noexcept { return 2 * options.max_sequences; }

  // Bytes that the KV cache may take where nobody says how many: of a container's own memory most of what is left, of
  // a machine's or a GPU's half.
  std::uint64_t kv_share(const std::string& memory) const;
  // The most tokens for which every memory has room in that share.
  std::uint64_t tokens_that_fit() const;
  // Throws Error(kResource) with the arithmetic, and what could be done, where `kv_tokens` tokens do not fit.
  void check(std::uint64_t kv_tokens) const;
  // "needs 5.1 GiB: weights 3.9 GiB, KV cache 1.0 GiB (8192 tokens), work space 200 MiB; 4.0 GiB of 4.3 GiB may still
  // be used (cgroup ...)"; of the tightest memory.
  std::string tell(std::uint64_t kv_tokens) const;
  void log(std::uint64_t kv_tokens) const;
  bool fits(std::uint64_t kv_tokens) const;
  const std::map<std::string, Memory>& memories() const noexcept { return memories_; }

 private:
  std::string what_;
  std::map<std::string, Memory> memories_;
};

}  // namespace nacelle
