// Block bookkeeping. Every operation on a pool takes constant time.
#include "core/engine/kv_blocks.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace nacelle {
namespace {

// An answer's state is kept each time that so many tokens more are there: a copy of it costs about what a token costs
// to read and write it, and what lies behind the latest copy is a chunk of the next prompt.
constexpr std::uint32_t kAnswerTokens = 64;
// A prompt's state is kept behind the last block that ends so many tokens before it does. These are often the head of
// the answer ("<|im_start|>assistant", "<think>"), which templates write otherwise in the next turn.
constexpr std::size_t kHeadTokens = 8;

}  // namespace

// ---- One group

BlockPool::BlockPool(std::uint32_t count) : blocks_(count) {
  free_.reserve(count);
  for (std::uint32_t block = count; block > 0; --block) free_.push_back(block - 1);  // low ids are taken first
}

void BlockPool::link_newest(std::uint32_t block) {
  blocks_[block].older = newest_;
  blocks_[block].newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = block;
  newest_ = block;
  ++idle_;
}

void BlockPool::unlink(std::uint32_t block) {
  const Block& gone = blocks_[block];
  (gone.older == kNone ? oldest_ : blocks_[gone.older].newer) = gone.newer;
  (gone.newer == kNone ? newest_ : blocks_[gone.newer].older) = gone.older;
  --idle_;
}

std::uint32_t BlockPool::take() {
  std::uint32_t block;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    block = oldest_;
    unlink(block);
    places_.erase(blocks_[block].key);
    blocks_[block].known = false;
  }
  blocks_[block].holders = 1;
  return block;
}

void BlockPool::give(std::uint32_t block) {
  if (--blocks_[block].holders != 0) return;
  if (blocks_[block].known)
    link_newest(block);
  else
    free_.push_back(block);
}

std::optional<std::uint32_t> BlockPool::find(const BlockKey& key) const {
  const auto place = places_.find(key);
  if (place == places_.end()) return std::nullopt;
  return place->second;
}

void BlockPool::share(std::uint32_t block) {
  if (blocks_[block].holders++ == 0) unlink(block);
}

void BlockPool::forget(const BlockKey& key) {
  const auto place = places_.find(key);
  if (place == places_.end() || blocks_[place->second].holders != 0) return;
  const std::uint32_t block = place->second;
  unlink(block);
  blocks_[block].known = false;
  places_.erase(place);
  free_.push_back(block);
}

void BlockPool::publish(std::uint32_t block, const BlockKey& key) {
  if (!places_.try_emplace(key, block).second) return;
  blocks_[block].known = true;
  blocks_[block].key = key;
}

// ---- All groups

std::uint32_t KvBlocks::free() const noexcept {
  std::uint32_t fewest = std::numeric_limits<std::uint32_t>::max();
  for (const BlockPool& pool : pools) fewest = std::min(fewest, pool.free());
  if (states) fewest = std::min(fewest, states->free());
  return fewest;
}

std::uint32_t KvBlocks::first_seen(std::size_t group, std::uint32_t position) const noexcept {
  const std::uint32_t window = windows[group];
  return window == 0 || position < window ? 0 : (position + 1 - window) / block_tokens;
}

// ---- One sequence

void SequenceBlocks::name(std::string_view name, std::span<const std::int32_t> tokens) {
  if (!blocks_->sharing) return;
  root_ = blocks_->keys.root(name);
  extend_keys(tokens);
  prompt_blocks_ = static_cast<std::uint32_t>(keys_.size());
  if (blocks_->states && tokens.size() > kHeadTokens)
    keep_state_at((tokens.size() - kHeadTokens) / blocks_->block_tokens);
}

void SequenceBlocks::extend_keys(std::span<const std::int32_t> tokens) {
  const std::uint32_t block = blocks_->block_tokens;
  while ((keys_.size() + 1) * block <= tokens.size())
    keys_.push_back(
        blocks_->keys.next(keys_.empty() ? *root_ : keys_.back(), tokens.subspan(keys_.size() * block, block)));
}

std::optional<BlockKey> SequenceBlocks::key(std::size_t index) const {
  if (index >= keys_.size()) return std::nullopt;
  return keys_[index];
}

// The most whole blocks, of the first `most`, with which a sequence can go on: a group that sees everything needs them
// all, a sliding window those that the last token of them sees.
std::uint32_t SequenceBlocks::known_prefix(std::uint32_t most) const {
  std::uint32_t count = most;
  for (std::size_t group = 0; group < tables_.size(); ++group)
    if (blocks_->windows[group] == 0)
      for (std::uint32_t i = 0; i < count; ++i)
        if (!known(group, i)) count = i;
  for (bool changed = true; changed && count > 0;) {
    changed = false;
    for (std::size_t group = 0; group < tables_.size(); ++group) {
      if (blocks_->windows[group] == 0) continue;
      for (std::uint32_t i = count; i > 0 && i > blocks_->first_seen(group, count * blocks_->block_tokens - 1); --i)
        if (!known(group, i - 1)) count = i - 1, changed = true;
    }
  }
  return count;
}

std::uint32_t SequenceBlocks::adopt(std::span<const std::int32_t> tokens) {
  if (!root_ || tokens.empty() || (tables_.empty() && !blocks_->states)) return 0;
  extend_keys(tokens);
  const std::uint32_t size = static_cast<std::uint32_t>(tokens.size()), block = blocks_->block_tokens;
  if (blocks_->states) {
    // A state cannot be taken back by a token, so the last one's block is computed whole.
    const std::uint32_t known = known_prefix((size - 1) / block);
    std::uint32_t kept = kept_state(known);
    for (std::uint32_t seen; (seen = known_prefix(kept)) < kept;) kept = kept_state(seen);  // windows need theirs too
    // Where the blocks go on, others have branched off before: the next one shall find the state there.
    if (!tables_.empty()) keep_state_at(known);
    if (kept == 0) return 0;
    take_over(kept);
    adopt_state(kept);
    return kept * block;
  }
  std::uint32_t count = known_prefix(size / block);
  take_over(count);
  if (count == 0 || count * block != size) return count * block;
  // All is known. The last token's block is shared and will be written, so it is copied; where a pool has no block left
  // for that, the whole of it is computed.
  if (blocks_->free() > 0) {
    copy_last();
    return size - 1;
  }
  clear();
  count = known_prefix(count - 1);
  take_over(count);
  return count * block;
}

// The most whole blocks, of the first `most`, behind which a copy of the state is known.
std::uint32_t SequenceBlocks::kept_state(std::uint32_t most) const {
  std::uint32_t count = most;
  while (count > 0 && !blocks_->states->find(keys_[count - 1])) --count;
  return count;
}

// The sequence goes on from a copy of the copy, or, where there is no state left for that, from the copy itself.
void SequenceBlocks::adopt_state(std::uint32_t count) {
  BlockPool& states = *blocks_->states;
  const std::uint32_t kept = *states.find(keys_[count - 1]);
  blocks_->state_copies.push_back({kept, kept});  // may throw: before anything is taken
  states.share(kept);
  if (states.free() > 0) {
    blocks_->state_copies.back().to = state_ = states.take();
    states.give(kept);
  } else {
    blocks_->state_copies.pop_back();
    states.give(kept);
    states.forget(keys_[count - 1]);
    state_ = states.take();
  }
}

void SequenceBlocks::keep_state_at(std::size_t blocks) {
  const auto place = std::lower_bound(cuts_.begin(), cuts_.end(), blocks);
  if (blocks == 0 || (place != cuts_.end() && *place == blocks)) return;
  cuts_.insert(place, static_cast<std::uint32_t>(blocks));
}

std::uint32_t SequenceBlocks::next_cut(std::uint32_t computed) const noexcept {
  const auto cut = std::upper_bound(cuts_.begin(), cuts_.end(), computed / blocks_->block_tokens);
  return cut == cuts_.end() ? std::numeric_limits<std::uint32_t>::max() : *cut * blocks_->block_tokens;
}

std::size_t SequenceBlocks::common_blocks(const SequenceBlocks& other) const noexcept {
  const auto [own, theirs] = std::mismatch(keys_.begin(), keys_.end(), other.keys_.begin(), other.keys_.end());
  return static_cast<std::size_t>(own - keys_.begin());
}

void SequenceBlocks::take_over(std::uint32_t count) {
  if (count == 0) return;
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    BlockPool& pool = blocks_->pools[group];
    Table& table = tables_[group];
    table.first = blocks_->first_seen(group, count * blocks_->block_tokens - 1);
    table.blocks.assign(count, 0);
    for (std::size_t i = table.first; i < count; ++i) pool.share(table.blocks[i] = *pool.find(keys_[i]));
  }
  published_ = count;
}

// The source may be evicted and written for others in the same step: copies come before, and in order.
void SequenceBlocks::copy_last() {
  blocks_->copies.resize(tables_.size());
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    std::uint32_t& last = tables_[group].blocks.back();
    const std::uint32_t shared = last;
    blocks_->copies[group].push_back({shared, shared});  // may throw: before anything is taken
    blocks_->copies[group].back().to = last = blocks_->pools[group].take();
    blocks_->pools[group].give(shared);
  }
}

void SequenceBlocks::publish(std::span<const std::int32_t> tokens, std::uint32_t computed) {
  const std::uint32_t whole = computed / blocks_->block_tokens;
  if (!root_) return;
  if (blocks_->states && whole > 0 && computed % blocks_->block_tokens == 0) {
    extend_keys(tokens.first(computed));
    publish_state(whole);
  }
  if (whole <= published_) return;
  extend_keys(tokens.first(computed));
  for (std::size_t group = 0; group < tables_.size(); ++group)
    for (std::size_t i = std::max<std::size_t>(published_, tables_[group].first); i < whole; ++i)
      blocks_->pools[group].publish(tables_[group].blocks[i], keys_[i]);
  published_ = whole;
}

// Of the answer only the latest copy stays, for the request that goes on from it.
void SequenceBlocks::publish_state(std::uint32_t whole) {
  BlockPool& states = *blocks_->states;
  const BlockKey& key = keys_[whole - 1];
  const bool in_answer = whole > prompt_blocks_;
  const bool is_due = in_answer ? whole % std::max(1u, kAnswerTokens / blocks_->block_tokens) == 0
                                : std::binary_search(cuts_.begin(), cuts_.end(), whole);
  if (state_ == kNone || !is_due || states.find(key)) return;
  if (in_answer && latest_) states.forget(*latest_);
  if (states.free() == 0) return;
  blocks_->state_copies.push_back({state_, state_});
  const std::uint32_t kept = blocks_->state_copies.back().to = states.take();
  try {
    states.publish(kept, key);
  } catch (...) {
    states.give(kept);
    throw;
  }
  states.give(kept);
  if (in_answer) latest_ = key;
}

bool SequenceBlocks::keep_for_guess() {
  if (!blocks_->states) return true;
  if (blocks_->states->free() == 0) return false;
  blocks_->state_copies.push_back({state_, state_});
  blocks_->state_copies.back().to = before_ = blocks_->states->take();
  return true;
}

bool SequenceBlocks::settle_guess(bool all_right) {
  if (before_ == kNone) return false;
  if (!all_right) std::swap(state_, before_);
  blocks_->states->give(std::exchange(before_, kNone));
  return !all_right;
}

std::uint32_t SequenceBlocks::room() const noexcept {
  std::size_t blocks = std::numeric_limits<std::uint32_t>::max() / blocks_->block_tokens;
  for (const Table& table : tables_) blocks = std::min(blocks, table.blocks.size());
  return static_cast<std::uint32_t>(blocks) * blocks_->block_tokens;
}

bool SequenceBlocks::can_reserve(std::uint32_t tokens) const noexcept {
  if (needs_state() && blocks_->states->free() == 0) return false;
  const std::size_t wanted = blocks_->blocks_for(tokens);
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    const std::size_t held = tables_[group].blocks.size();
    if (wanted > held && wanted - held > blocks_->pools[group].free()) return false;
  }
  return true;
}

bool SequenceBlocks::reserve(std::uint32_t tokens) {
  if (!can_reserve(tokens)) return false;
  if (needs_state()) state_ = blocks_->states->take();
  const std::size_t wanted = blocks_->blocks_for(tokens);
  for (std::size_t group = 0; group < tables_.size(); ++group)
    for (auto& blocks = tables_[group].blocks; blocks.size() < wanted;) {
      blocks.push_back(0);  // where there is no memory for it, no block is taken
      blocks.back() = blocks_->pools[group].take();
    }
  return true;
}

void SequenceBlocks::trim(std::uint32_t position) {
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    const std::size_t unseen = blocks_->first_seen(group, position);
    Table& table = tables_[group];
    for (; table.first < unseen && table.first < table.blocks.size(); ++table.first)
      blocks_->pools[group].give(table.blocks[table.first]);
  }
}

// From the end, so that of a prefix the first blocks stay known for longest: without them the others cannot be found.
void SequenceBlocks::clear() {
  for (std::size_t group = 0; group < tables_.size(); ++group) {
    Table& table = tables_[group];
    for (std::size_t i = table.blocks.size(); i > table.first; --i) blocks_->pools[group].give(table.blocks[i - 1]);
    table = {};
  }
  settle_guess(true);
  if (state_ != kNone) {
    // One that was adopted and not let in: its copy need not be made.
    auto& copies = blocks_->state_copies;
    if (!copies.empty() && copies.back().to == state_) copies.pop_back();
    blocks_->states->give(std::exchange(state_, kNone));
  }
  published_ = 0;
}

}  // namespace nacelle
