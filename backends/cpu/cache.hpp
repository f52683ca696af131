// The paged KV cache, and states. A paged group's memory is [block][layer][head] of keys, then values, in the layout
// that attention reads (kernels/kernels.hpp), a group of states [block][layer] of f32: a block is one run of bytes, so
// blocks in use lie together and untouched ones cost no memory.
#pragma once

#include <cstdint>
#include <nacelle/backend.hpp>
#include <span>
#include <vector>

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {

// Shape of one layer's part of a block. Widths are those of one head.
struct KvShape {
  std::uint32_t block_tokens, heads, key_width, value_width;
  nacelle_type key_type, value_type;
  bool aliased = false;  // no values are kept: they are the first columns of the keys

  std::uint64_t key_head_bytes() const;  // all tokens of a block
  std::uint64_t value_head_bytes() const;
  std::uint64_t layer_bytes() const { return heads * (key_head_bytes() + value_head_bytes()); }
  // The view of `head` in layer `layer` of blocks that hold `layers` layers.
  KvView view(std::byte* base, const std::uint32_t* table, std::uint32_t layer, std::uint32_t layers,
              std::uint32_t head) const;
};

// The shape of each cache group, read off the attention operations that use it. Throws sdk::Failure, naming the type or
// kind, for what cannot be stored.
std::vector<KvShape> kv_shapes(const nacelle_graph& graph, const nacelle_cache_options& options);

// Bytes of one block of `group`, a multiple of 64.
std::uint64_t kv_block_bytes(const nacelle_graph& graph, const std::vector<KvShape>& shapes, std::uint32_t group);

class CpuCache final : public sdk::Cache {
 public:
  CpuCache(const sdk::Host& host, const nacelle_graph& graph, const nacelle_cache_options& options);

  nacelle_status copy_blocks(sdk::Stream&, std::uint32_t group,
                             std::span<const nacelle_block_copy> pairs) noexcept override;

  std::uint32_t block_tokens() const { return block_tokens_; }
  nacelle_type key_type() const { return key_type_; }
  nacelle_type value_type() const { return value_type_; }
  std::byte* memory(std::uint32_t group) const { return groups_[group].memory.data(); }
  // What `layer` keeps of the state `id` of a group of states; the id is below block_count(group).
  float* state(std::uint32_t group, std::uint32_t layer, std::uint32_t id) const {
    const Group& of = groups_[group];
    return reinterpret_cast<float*>(of.memory.data() + id * of.block_bytes + layer * of.state_bytes);
  }
  std::uint32_t block_count(std::uint32_t group) const { return groups_[group].block_count; }

  // Best candidate of each output row of the latest run on this cache: NACELLE_TOKEN_FROM_PREVIOUS.
  std::vector<std::uint32_t> best;

 private:
  struct Group {
    std::uint64_t block_bytes, state_bytes;  // of a block; of a layer's part of a state
    std::uint32_t block_count;
    sdk::Buffer memory;
  };
  std::uint32_t block_tokens_;
  nacelle_type key_type_, value_type_;
  std::vector<Group> groups_;
};

}  // namespace nacelle::cpu
