// Which KV blocks are free, which belong to sequences, and which keep a prefix that later sequences may begin with. The
// engine's thread only, but for what is marked otherwise.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/engine/block_key.hpp"

namespace nacelle {

// The blocks of one cache group. A block is free, held by one or more sequences, or idle: held by none, but with
// content under a key that is kept until the room is needed.
class BlockPool {
 public:
  explicit BlockPool(std::uint32_t count);
  // What take() can hand out: free and idle blocks.
  std::uint32_t free() const noexcept { return static_cast<std::uint32_t>(free_.size()) + idle_; }
  std::uint32_t total() const noexcept { return static_cast<std::uint32_t>(blocks_.size()); }
  // Blocks with content under a key, idle or held.
  std::uint32_t cached() const noexcept { return static_cast<std::uint32_t>(places_.size()); }

  // A block for the caller alone; free() must not be 0. An idle one, the least recently used, only when none is free.
  std::uint32_t take();
  // One holder less.
  void give(std::uint32_t block);

  std::optional<std::uint32_t> find(const BlockKey& key) const;
  // One holder more, of a block that find() knows.
  void share(std::uint32_t block);
  // The block's content is complete and never changes while it is known under `key`. Where another block has the key
  // already, this one stays the holder's own.
  void publish(std::uint32_t block, const BlockKey& key);

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  struct Block {
    std::uint32_t holders = 0;
    bool known = false;
    BlockKey key;
    std::uint32_t older = kNone, newer = kNone;  // neighbours among the idle
  };
  void link_newest(std::uint32_t block);
  void unlink(std::uint32_t block);

  std::vector<Block> blocks_;
  std::vector<std::uint32_t> free_;
  std::uint32_t oldest_ = kNone, newest_ = kNone, idle_ = 0;
  std::unordered_map<BlockKey, std::uint32_t, BlockKeyHash> places_;
};

// The pools of all cache groups of a model.
struct KvBlocks {
  std::uint32_t block_tokens = 0;
  std::vector<std::uint32_t> windows;  // tokens a row can see, a group; 0: all
  std::vector<BlockPool> pools;
  bool can_share = false;                               // every group is paged: a prefix is nothing but its blocks
  bool sharing = false;                                 // the prefix cache is on
  BlockKeys keys;                                       // const after construction: any thread
  std::vector<std::vector<nacelle_block_copy>> copies;  // a group: to be made in this order before the next step

  std::uint32_t blocks_for(std::uint32_t tokens) const noexcept { return (tokens + block_tokens - 1) / block_tokens; }
  // The fewest that any pool can hand out.
  std::uint32_t free() const noexcept;
  // First block that a row at `position` can see.
  std::uint32_t first_seen(std::size_t group, std::uint32_t position) const noexcept;
};

// The block tables of one sequence, one a group. Gives its blocks back when destroyed.
class SequenceBlocks {
 public:
  explicit SequenceBlocks(KvBlocks& blocks) : blocks_(&blocks), tables_(blocks.pools.size()) {}
  ~SequenceBlocks() { clear(); }
  SequenceBlocks(const SequenceBlocks&) = delete;
  SequenceBlocks& operator=(const SequenceBlocks&) = delete;

  // [any thread, before the sequence is the engine's] Blocks are shared among sequences of one name. Makes the keys of
  // the whole blocks of `tokens`; does nothing where the prefix cache is off.
  void name(std::string_view name, std::span<const std::int32_t> tokens);
  // Key of the whole block `index` of the named tokens; nothing past them.
  std::optional<BlockKey> key(std::size_t index) const;

  // With an empty table: takes over the blocks of the longest known prefix of `tokens`. Returns how many tokens need no
  // computing; at least the last one does, into a copy of its block where that is known too.
  std::uint32_t adopt(std::span<const std::int32_t> tokens);
  // The first `computed` tokens are in the cache: lets others find the blocks that became whole.
  void publish(std::span<const std::int32_t> tokens, std::uint32_t computed);

  // Whether reserve() would succeed.
  bool can_reserve(std::uint32_t tokens) const noexcept;
  // Makes room for `tokens` tokens in all; false, with nothing changed, when a pool has too few blocks.
  bool reserve(std::uint32_t tokens);
  // Frees blocks that no row at or after `position` can see (sliding windows).
  void trim(std::uint32_t position);
  void clear();
  std::size_t groups() const noexcept { return tables_.size(); }
  std::span<const std::uint32_t> table(std::size_t group) const noexcept { return tables_[group].blocks; }

 private:
  struct Table {
    std::vector<std::uint32_t> blocks;  // entries before `first` were freed and are never read again
    std::size_t first = 0;
  };
  void extend_keys(std::span<const std::int32_t> tokens);
  std::uint32_t known_prefix(std::uint32_t most) const;
  bool known(std::size_t group, std::uint32_t block) const {
    return blocks_->pools[group].find(keys_[block]).has_value();
  }
  void take_over(std::uint32_t count);
  void copy_last();

  KvBlocks* blocks_;
  std::vector<Table> tables_;
  std::optional<BlockKey> root_;
  std::vector<BlockKey> keys_;   // of whole blocks, from the first on
  std::uint32_t published_ = 0;  // blocks that others can find, or need not
};

}  // namespace nacelle
