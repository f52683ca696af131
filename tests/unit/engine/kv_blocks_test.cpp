// The prefix cache's bookkeeping: keys, eviction order, shared blocks, copies, sliding windows.
#include "core/engine/kv_blocks.hpp"

#include <catch2/catch.hpp>
#include <numeric>

using namespace nacelle;

namespace {

using Tokens = std::vector<std::int32_t>;

KvBlocks caching_blocks(std::uint32_t count, std::vector<std::uint32_t> windows = {0}) {
  KvBlocks blocks;
  blocks.block_tokens = 4;
  blocks.windows = std::move(windows);
  for (std::size_t i = 0; i < blocks.windows.size(); ++i) blocks.pools.emplace_back(count);
  blocks.sharing = true;
  return blocks;
}

Tokens counting(std::size_t size, std::int32_t first = 0) {
  Tokens tokens(size);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A sequence that has computed all of `tokens` and is gone again.
void pass_through(KvBlocks& blocks, const Tokens& tokens, std::string_view name = "") {
  SequenceBlocks sequence(blocks);
  sequence.name(name, tokens);
  sequence.adopt(tokens);
  REQUIRE(sequence.reserve(static_cast<std::uint32_t>(tokens.size())));
  sequence.publish(tokens, static_cast<std::uint32_t>(tokens.size()));
}

std::uint32_t found(KvBlocks& blocks, const Tokens& tokens, std::string_view name = "") {
  SequenceBlocks sequence(blocks);
  sequence.name(name, tokens);
  return sequence.adopt(tokens);
}

}  // namespace

TEST_CASE("sip_hash gives its authors' vectors") {
  const std::array<std::uint64_t, 2> secret = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  std::vector<std::byte> bytes;
  CHECK(sip_hash(secret, bytes) == BlockKey{0xe6a825ba047f81a3u, 0x930255c71472f66du});
  bytes.push_back(std::byte{0});
  CHECK(sip_hash(secret, bytes) == BlockKey{0x44af996bd8c187dau, 0x45fc229b11597634u});
}

TEST_CASE("keys tell apart names, tokens and what came before") {
  const BlockKeys keys;
  const Tokens a = {1, 2, 3, 4}, b = {1, 2, 3, 5};
  const BlockKey root = keys.root("");
  CHECK(keys.next(root, a) == keys.next(root, a));
  CHECK_FALSE(keys.next(root, a) == keys.next(root, b));
  CHECK_FALSE(keys.next(keys.next(root, b), a) == keys.next(keys.next(root, a), a));
  CHECK_FALSE(keys.root("tenant") == root);
  CHECK_FALSE(BlockKeys().root("") == root);
}

TEST_CASE("a pool hands out free blocks first, then the least recently used idle one") {
  BlockPool pool(3);
  const BlockKey a{1, 1}, b{2, 2};
  const std::uint32_t first = pool.take(), second = pool.take();
  pool.publish(first, a);
  pool.publish(second, b);
  pool.give(first);
  pool.give(second);
  CHECK(pool.free() == 3);
  CHECK(pool.cached() == 2);
  pool.share(*pool.find(a));  // used again: now b is the oldest
  pool.give(first);
  pool.take();
  CHECK(pool.cached() == 2);
  CHECK(pool.take() == second);
  CHECK_FALSE(pool.find(b));
  CHECK(pool.find(a) == first);
  CHECK(pool.take() == first);
  CHECK(pool.free() == 0);
}

TEST_CASE("the first of two equal blocks is kept, the other stays its holder's own") {
  BlockPool pool(2);
  const BlockKey key{7, 7};
  const std::uint32_t first = pool.take(), second = pool.take();
  pool.publish(first, key);
  pool.publish(second, key);
  CHECK(pool.find(key) == first);
  pool.give(second);
  CHECK(pool.take() == second);
  CHECK(pool.find(key) == first);
}

TEST_CASE("a prefix is found by whole blocks, under the same name alone") {
  KvBlocks blocks = caching_blocks(8);
  pass_through(blocks, counting(11));
  CHECK(found(blocks, counting(11)) == 8);
  CHECK(found(blocks, counting(9)) == 8);
  CHECK(found(blocks, counting(7)) == 4);
  CHECK(found(blocks, counting(3)) == 0);
  CHECK(found(blocks, counting(11), "another tenant") == 0);
  CHECK(found(blocks, counting(11, 1)) == 0);
  CHECK(blocks.pools[0].free() == 8);
}

TEST_CASE("of a prompt that is known to its end the last token is computed, in a copy of its block") {
  KvBlocks blocks = caching_blocks(4);
  pass_through(blocks, counting(8));
  SequenceBlocks holder(blocks), copy(blocks);
  const Tokens tokens = counting(8);
  for (SequenceBlocks* sequence : {&holder, &copy}) {
    sequence->name("", tokens);
    CHECK(sequence->adopt(tokens) == 7);
  }
  REQUIRE(blocks.copies[0].size() == 2);
  CHECK(holder.table(0)[0] == copy.table(0)[0]);
  CHECK(holder.table(0)[1] != copy.table(0)[1]);
  CHECK(blocks.copies[0][0].to == holder.table(0)[1]);
  CHECK(blocks.copies[0][1].from == blocks.copies[0][0].from);
  // No block is left for a third copy: the last block is computed as a whole, once there is room.
  SequenceBlocks third(blocks);
  third.name("", tokens);
  CHECK(third.adopt(tokens) == 4);
}

TEST_CASE("a sliding window needs only the blocks that the next token sees") {
  KvBlocks blocks = caching_blocks(8, {0, 5});
  SequenceBlocks first(blocks);
  const Tokens tokens = counting(18);
  first.name("", tokens);
  REQUIRE(first.reserve(18));
  first.publish(tokens, 18);
  first.trim(18);
  first.clear();
  // The window's first blocks are needed for something else.
  for (int i = 0; i < 6; ++i) blocks.pools[1].take();
  SequenceBlocks second(blocks);
  second.name("", tokens);
  CHECK(second.adopt(tokens) == 16);
  CHECK(second.table(0).size() == 4);
  second.clear();
  blocks.pools[1].take();  // and one of those that are seen
  CHECK(found(blocks, tokens) == 0);
}

TEST_CASE("evicted blocks take their prefix with them, from the end") {
  KvBlocks blocks = caching_blocks(4);
  pass_through(blocks, counting(16));
  blocks.pools[0].take();
  CHECK(found(blocks, counting(16)) == 12);
  blocks.pools[0].take();
  CHECK(found(blocks, counting(16)) == 8);
}

TEST_CASE("with the cache off nothing is found") {
  KvBlocks blocks = caching_blocks(4);
  blocks.sharing = false;
  pass_through(blocks, counting(8));
  CHECK(found(blocks, counting(8)) == 0);
  CHECK(blocks.pools[0].cached() == 0);
}
