// The paged KV cache on the device, and states. A group's memory is [block][layer][head][keys: token rows | values:
// token rows], so that a block is one run of bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <nacelle/backend.hpp>
#include <span>
#include <string>
#include <vector>

#include "backends/gpu/host/stream.hpp"
#include "backends/gpu/host/weights.hpp"

namespace nacelle::gpu {

// Sizes of one group. Widths are those of one head. A state is the keys of one token: one head of f32.
struct KvLayout {
  std::uint32_t layers = 0, heads = 0, key_width = 0, value_width = 0, block_tokens = 0;
  nacelle_type key_type = 0, value_type = 0;
  std::uint32_t key_row_bytes = 0, value_row_bytes = 0;  // values that alias the keys take none of their own
  bool aliased = false;

  std::uint64_t head_bytes(std::uint32_t row_bytes) const;  // a head's tokens of a block
  std::uint64_t layer_bytes() const;
  std::uint64_t block_bytes() const { return layers * layer_bytes(); }
  // Everything but base, tables and block_count.
  KvView view(std::uint32_t layer) const;
};

// The layout of each group; a paged one's is read off the attention operations that use it. Throws sdk::Failure, naming
// the type or kind, for what cannot be stored.
std::vector<KvLayout> kv_layouts(const std::string& backend, const nacelle_graph& graph,
                                 const nacelle_cache_options& options);

class GpuCache final : public sdk::Cache {
 public:
  GpuCache(std::shared_ptr<OpenDevice> device, const nacelle_graph& graph, const nacelle_cache_options& options,
           std::uint32_t most_outputs);

  nacelle_status copy_blocks(sdk::Stream& stream, std::uint32_t group,
                             std::span<const nacelle_block_copy> pairs) noexcept override;

  const nacelle_cache_options& options() const { return options_; }
  const KvLayout& layout(std::uint32_t group) const { return groups_[group].layout; }
  std::uint8_t* memory(std::uint32_t group) const { return groups_[group].memory.data(); }
  std::uint32_t block_count(std::uint32_t group) const { return groups_[group].block_count; }

  // Best candidates of the latest run on this cache, on the device: NACELLE_TOKEN_FROM_PREVIOUS. How many there are.
  std::uint32_t* best() const { return best_.as<std::uint32_t>(); }
  std::uint32_t best_count = 0;

 private:
  struct Group {
    KvLayout layout;
    std::uint32_t block_count;
    Memory memory;
  };
  std::shared_ptr<OpenDevice> device_;
  nacelle_cache_options options_;
  std::vector<Group> groups_;
  Memory best_;
};

}  // namespace nacelle::gpu
