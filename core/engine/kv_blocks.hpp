// Which KV blocks are free, and which belong to a sequence. The engine's thread only.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <span>
#include <vector>

namespace nacelle {

// The free list of one cache group.
class BlockPool {
 public:
  explicit BlockPool(std::uint32_t count);
  std::uint32_t free() const noexcept { return static_cast<std::uint32_t>(free_.size()); }
  std::uint32_t total() const noexcept { return total_; }
  std::uint32_t take();  // free() must not be 0
  void give(std::uint32_t block) { free_.push_back(block); }

 private:
  std::vector<std::uint32_t> free_;
  std::uint32_t total_;
};

// The pools of all cache groups of a model.
struct KvBlocks {
  std::uint32_t block_tokens = 0;
  std::vector<std::uint32_t> windows;  // tokens a row can see, a group; 0: all
  std::vector<BlockPool> pools;

  std::uint32_t blocks_for(std::uint32_t tokens) const noexcept { return (tokens + block_tokens - 1) / block_tokens; }
  // Whether every pool could hold `tokens` more tokens of a new sequence.
  bool fits(std::uint32_t tokens) const noexcept;
};

// The block tables of one sequence, one a group. Gives its blocks back when destroyed.
class SequenceBlocks {
 public:
  explicit SequenceBlocks(KvBlocks& blocks) : blocks_(&blocks), tables_(blocks.pools.size()) {}
  ~SequenceBlocks() { clear(); }
  SequenceBlocks(const SequenceBlocks&) = delete;
  SequenceBlocks& operator=(const SequenceBlocks&) = delete;

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
  KvBlocks* blocks_;
  std::vector<Table> tables_;
};

}  // namespace nacelle
