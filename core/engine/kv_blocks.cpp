// Block bookkeeping.
#include "core/engine/kv_blocks.hpp"

namespace nacelle {

BlockPool::BlockPool(std::uint32_t count) : total_(count) {
  free_.reserve(count);
  for (std::uint32_t block = count; block > 0; --block) free_.push_back(block - 1);  // low ids are taken first
}

std::uint32_t BlockPool::take() {
  const std::uint32_t block = free_.back();
  free_.pop_back();
  return block;
}

bool KvBlocks::fits(std::uint32_t tokens) const noexcept {
  for (const BlockPool& pool : pools)
    if (pool.free() < blocks_for(tokens)) return false;
  return true;
}

bool SequenceBlocks::reserve(std::uint32_t tokens) {
  const std::size_t wanted = blocks_->blocks_for(tokens);
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    const std::size_t held = tables_[group].blocks.size();
    if (wanted > held && wanted - held > blocks_->pools[group].free()) return false;
  }
  for (std::size_t group = 0; group < tables_.size(); ++group)
    while (tables_[group].blocks.size() < wanted) tables_[group].blocks.push_back(blocks_->pools[group].take());
  return true;
}

void SequenceBlocks::trim(std::uint32_t position) {
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    const std::uint32_t window = blocks_->windows[group];
    if (window == 0 || position < window) continue;
    const std::size_t unseen = (position + 1 - window) / blocks_->block_tokens;  // whole blocks before the window
    Table& table = tables_[group];
    for (; table.first < unseen && table.first < table.blocks.size(); ++table.first)
      blocks_->pools[group].give(table.blocks[table.first]);
  }
}

void SequenceBlocks::clear() {
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    Table& table = tables_[group];
    for (std::size_t i = table.first; i < table.blocks.size(); ++i) blocks_->pools[group].give(table.blocks[i]);
    table = {};
  }
}

}  // namespace nacelle
