// Which KV blocks and states are free, which belong to sequences, and which keep a prefix that later sequences may
// begin with. The engine's thread only, but for what is marked otherwise.
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
  // Where nobody holds the block under this key: its content is gone, and it is free.
  void forget(const BlockKey& key);
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

// The pools of all cache groups of a model. Its groups of states have one pool together: a sequence's state has the
// same id in each. A state follows its sequence from token to token, so a prefix of such a model is known only where a
// copy of the state was kept: behind a whole block, under that block's key.
struct KvBlocks {
  std::uint32_t block_tokens = 0;
  std::vector<std::uint32_t> windows;  // tokens a row can see, a paged group; 0: all
  std::vector<BlockPool> pools;        // of paged groups
  std::optional<BlockPool> states;     // of sequences, and copies that are kept; nothing: no group of states
  // Indices into `pools`, or kStates. Empty: all groups are paged, and each has the pool of its own index.
  static constexpr std::uint32_t kStates = 0xffffffffu;
  std::vector<std::uint32_t> pool_of_group;
  bool can_share = false;                               // every group is paged or of states
  bool sharing = false;                                 // the prefix cache is on
  BlockKeys keys;                                       // const after construction: any thread
  std::vector<std::vector<nacelle_block_copy>> copies;  // a pool: to be made in this order before the next step
  std::vector<nacelle_block_copy> state_copies;         // the same, in every group of states

  std::size_t group_count() const noexcept { return pool_of_group.empty() ? pools.size() : pool_of_group.size(); }
  std::uint32_t pool_of(std::size_t group) const noexcept {
    return pool_of_group.empty() ? static_cast<std::uint32_t>(group) : pool_of_group[group];
  }
  std::uint32_t blocks_for(std::uint32_t tokens) const noexcept { return (tokens + block_tokens - 1) / block_tokens; }
  // The fewest that any pool can hand out.
  std::uint32_t free() const noexcept;
  void forget_copies() noexcept {
    copies.clear();
    state_copies.clear();
  }
  // First block that a row at `position` can see.
  std::uint32_t first_seen(std::size_t group, std::uint32_t position) const noexcept;
};

// The block tables of one sequence, one a group, and its state. Gives both back when destroyed.
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
  // The first `computed` tokens are in the cache: lets others find the blocks that became whole, and a copy of the
  // state where one is to be kept.
  void publish(std::span<const std::int32_t> tokens, std::uint32_t computed);
  // Of a model with states: a copy of the state is to be kept behind so many whole blocks, because another sequence has
  // them in common with this one.
  void keep_state_at(std::size_t blocks);
  // A chunk that begins at `computed` ends here at the latest, because a copy of the state is wanted then.
  std::uint32_t next_cut(std::uint32_t computed) const noexcept;
  // Keeps the state as it is before the next step, whose guesses may be wrong; false where there is none to spare. True
  // for a model without states.
  bool keep_for_guess();
  // Of a step with guesses: where not all were right, the state is again what it was before the step. Returns whether
  // it is: then the step's rows are to be computed anew.
  bool settle_guess(bool all_right);
  // Whole blocks that both begin with; of named sequences.
  std::size_t common_blocks(const SequenceBlocks& other) const noexcept;

  // Whether reserve() would succeed.
  bool can_reserve(std::uint32_t tokens) const noexcept;
  // Makes room for `tokens` tokens in all; false, with nothing changed, when a pool has too few blocks.
  bool reserve(std::uint32_t tokens);
  // Frees blocks that no row at or after `position` can see (sliding windows).
  void trim(std::uint32_t position);
  void clear();
  // Tokens for which there is room.
  std::uint32_t room() const noexcept;
  // Of the model's cache group: its blocks, or the one state.
  std::span<const std::uint32_t> table(std::size_t group) const noexcept {
    const std::uint32_t pool = blocks_->pool_of(group);
    if (pool == KvBlocks::kStates) return {&state_, state_ == kNone ? 0u : 1u};
    return tables_[pool].blocks;
  }

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
  bool needs_state() const noexcept { return blocks_->states && state_ == kNone; }
  std::uint32_t kept_state(std::uint32_t most) const;
  void adopt_state(std::uint32_t count);
  void publish_state(std::uint32_t whole);

  static constexpr std::uint32_t kNone = 0xffffffffu;
  KvBlocks* blocks_;
  std::vector<Table> tables_;        // of paged groups
  std::uint32_t state_ = kNone;      // id of its state
  std::uint32_t before_ = kNone;     // and of what it was before the step that runs
  std::uint32_t prompt_blocks_ = 0;  // whole ones of the tokens that it was named with
  std::vector<std::uint32_t> cuts_;  // in whole blocks: where copies of the state are to be kept
  std::optional<BlockKey> latest_;   // of the copy that was kept last in the answer: the next one takes its place
  std::optional<BlockKey> root_;
  std::vector<BlockKey> keys_;   // of whole blocks, from the first on
  std::uint32_t published_ = 0;  // blocks that others can find, or need not
};

}  // namespace nacelle
