// The paged KV cache, and states. A group's memory is [block][layer][keys: token rows | values: token rows], so that a
// block is one run of bytes. A token's row of keys (and of values) is stored in the cache's type and read back from it,
// even in the step that wrote it: what attention sees never depends on which step a row came with.
#pragma once

#include <cstdint>
#include <nacelle/backend.hpp>
#include <span>
#include <vector>

#include "formats.hpp"

namespace nacelle::reference {

struct CacheFormat {
  nacelle_type type;
  Encode encode;
};

// Sizes of one group under given options; a group of states is one of keys in f32, one token a block. Throws
// sdk::Failure for a type that cannot be stored.
struct GroupLayout {
  GroupLayout(const nacelle_cache_group& group, const nacelle_cache_options& options);

  CacheFormat key_format, value_format;
  std::uint64_t layer_count, block_tokens, key_width, value_width;  // value_width 0: values alias the keys
  std::uint64_t key_bytes, value_bytes;                             // of one token's row
  std::uint64_t layer_bytes() const { return block_tokens * (key_bytes + value_bytes); }
  std::uint64_t block_bytes() const { return layer_count * layer_bytes(); }
};

class ReferenceCache final : public sdk::Cache {
 public:
  ReferenceCache(const sdk::Host& host, const nacelle_graph& graph, const nacelle_cache_options& options);

  nacelle_status copy_blocks(sdk::Stream&, std::uint32_t group,
                             std::span<const nacelle_block_copy> pairs) noexcept override;

  // `table` is the sequence's block table. Throw sdk::Failure where the table has no valid block for the position.
  void write(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table, std::uint32_t position,
             std::span<const float> key, std::span<const float> value);
  void read_key(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table, std::uint32_t position,
                std::span<float> key) const;
  void read_value(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                  std::uint32_t position, std::span<float> value) const;

  const GroupLayout& layout(std::uint32_t group) const { return groups_[group].layout; }
  std::uint32_t block_tokens() const { return block_tokens_; }

  // A sequence's state in a layer of a STATE group.
  std::span<float> state(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table) const;

  // Best candidate of each output row of the latest run on this cache: NACELLE_TOKEN_FROM_PREVIOUS.
  std::vector<std::uint32_t> best;

 private:
  struct Group {
    GroupLayout layout;
    std::uint32_t block_count;
    sdk::Buffer memory;
  };
  std::byte* key_row(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                     std::uint32_t position) const;
  std::byte* value_row(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                       std::uint32_t position) const;

  std::uint32_t block_tokens_;
  std::vector<Group> groups_;
};

}  // namespace nacelle::reference
