// States of sequences beside paged blocks: where copies are kept, who goes on from them, and what takes whose place.
#include <catch2/catch.hpp>
#include <numeric>

#include "core/engine/kv_blocks.hpp"

using namespace nacelle;

namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::uint32_t kNoCut = 0xffffffffu;

// Blocks of 4 tokens. With `paged`, a group of keys and values before the group of states.
KvBlocks blocks_with_states(std::uint32_t states, bool paged = true) {
  KvBlocks blocks;
  blocks.block_tokens = 4;
  if (paged) {
    blocks.windows = {0};
    blocks.pools.emplace_back(100);
    blocks.pool_of_group = {0};
  }
  blocks.pool_of_group.push_back(KvBlocks::kStates);
  blocks.states.emplace(states);
  blocks.sharing = true;
  return blocks;
}

Tokens counting(std::size_t size, std::int32_t first = 0) {
  Tokens tokens(size);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Computes the prompt as the scheduler would, in chunks that end at the cuts.
void compute(SequenceBlocks& sequence, const Tokens& tokens, std::uint32_t from = 0) {
  const auto size = static_cast<std::uint32_t>(tokens.size());
  REQUIRE(sequence.reserve(size));
  for (std::uint32_t computed = from; computed < size;) {
    computed = std::min(size, sequence.next_cut(computed));
    sequence.publish(tokens, computed);
  }
}

void pass_through(KvBlocks& blocks, const Tokens& tokens) {
  SequenceBlocks sequence(blocks);
  sequence.name("", tokens);
  compute(sequence, tokens, sequence.adopt(tokens));
}

std::uint32_t found(KvBlocks& blocks, const Tokens& tokens) {
  SequenceBlocks sequence(blocks);
  sequence.name("", tokens);
  return sequence.adopt(tokens);
}

}  // namespace

TEST_CASE("a state is kept 8 tokens before a prompt's end, and the next one goes on from a copy of it") {
  for (const bool paged : {true, false}) {
    KvBlocks blocks = blocks_with_states(4, paged);
    const Tokens prompt = counting(18);
    {
      SequenceBlocks sequence(blocks);
      sequence.name("", prompt);
      CHECK(sequence.next_cut(0) == 8);
      CHECK(sequence.next_cut(8) == kNoCut);
      compute(sequence, prompt);
      REQUIRE(blocks.state_copies.size() == 1);
      CHECK(blocks.state_copies[0].from == sequence.table(paged)[0]);
    }
    const std::uint32_t kept = blocks.state_copies[0].to;
    CHECK(blocks.states->cached() == 1);
    SequenceBlocks next(blocks);
    next.name("", joined(prompt, counting(7, 50)));
    CHECK(next.adopt(joined(prompt, counting(7, 50))) == 8);
    REQUIRE(blocks.state_copies.size() == 2);
    CHECK(blocks.state_copies[1].from == kept);
    CHECK(blocks.state_copies[1].to == next.table(paged)[0]);
    CHECK(blocks.state_copies[1].to != kept);
  }
}

TEST_CASE("the last token of a prompt is computed, and the end of a prompt may differ in the next turn") {
  KvBlocks blocks = blocks_with_states(4);
  pass_through(blocks, counting(16));
  CHECK(found(blocks, counting(16)) == 8);
  CHECK(found(blocks, joined(counting(9), counting(20, 50))) == 8);
  CHECK(found(blocks, counting(9)) == 8);
  CHECK(found(blocks, counting(8)) == 0);  // nothing was kept behind its first block
  pass_through(blocks, counting(8, 70));
  CHECK(blocks.states->cached() == 1);  // of a short prompt nothing is
}

TEST_CASE("where prompts branch off, the second one keeps the state for the third") {
  KvBlocks blocks = blocks_with_states(8);
  const Tokens system = counting(17);
  pass_through(blocks, joined(system, counting(21, 100)));
  const Tokens second = joined(system, counting(21, 200));
  SequenceBlocks sequence(blocks);
  sequence.name("", second);
  CHECK(sequence.adopt(second) == 0);
  CHECK(sequence.next_cut(0) == 16);
  CHECK(sequence.next_cut(16) == 28);
  compute(sequence, second);
  CHECK(found(blocks, joined(system, counting(21, 300))) == 16);
}

TEST_CASE("of an answer only the latest state stays") {
  KvBlocks blocks = blocks_with_states(8);
  const Tokens prompt = counting(14), text = counting(195);
  SequenceBlocks sequence(blocks);
  sequence.name("", prompt);
  compute(sequence, prompt);
  CHECK(blocks.states->cached() == 1);
  REQUIRE(sequence.reserve(195));
  for (std::uint32_t computed = 15; computed <= 195; ++computed) sequence.publish(text, computed);
  CHECK(blocks.states->cached() == 2);  // behind 4 and 192 tokens; what was kept behind 64 and 128 is gone
  CHECK(found(blocks, text) == 192);
  CHECK(found(blocks, counting(131)) == 4);
}

TEST_CASE("without a state to spare nothing is kept, and a kept one is taken when a sequence needs it") {
  KvBlocks blocks = blocks_with_states(1);
  const Tokens prompt = counting(18);
  pass_through(blocks, prompt);
  CHECK(blocks.states->cached() == 0);

  blocks = blocks_with_states(2);
  pass_through(blocks, prompt);
  CHECK(blocks.states->cached() == 1);
  SequenceBlocks other(blocks), next(blocks);
  REQUIRE(other.reserve(4));
  next.name("", prompt);
  blocks.state_copies.clear();
  CHECK(next.adopt(prompt) == 8);  // it goes on from the kept one itself
  CHECK(blocks.state_copies.empty());
  CHECK(blocks.states->cached() == 0);
  CHECK(next.table(1)[0] != other.table(1)[0]);
  SequenceBlocks third(blocks);
  CHECK_FALSE(third.can_reserve(4));
  other.clear();
  CHECK(third.reserve(4));
}

TEST_CASE("a sequence that adopts and is not let in copies nothing, however often it tries") {
  KvBlocks blocks = blocks_with_states(4);
  const Tokens prompt = counting(18);
  pass_through(blocks, prompt);
  REQUIRE(blocks.state_copies.size() == 1);  // that of the kept one
  for (int i = 0; i < 3; ++i) {
    SequenceBlocks next(blocks);
    next.name("", prompt);
    CHECK(next.adopt(prompt) == 8);
    CHECK(blocks.state_copies.size() == 2);
    next.clear();
    CHECK(blocks.state_copies.size() == 1);
  }
  CHECK(blocks.states->free() == 4);
}

TEST_CASE("two prompts have their first blocks in common") {
  KvBlocks blocks = blocks_with_states(4);
  SequenceBlocks a(blocks), b(blocks);
  a.name("", joined(counting(9), counting(16, 100)));
  b.name("", joined(counting(9), counting(16, 200)));
  CHECK(a.common_blocks(b) == 2);
  a.keep_state_at(2);
  a.keep_state_at(2);
  CHECK(a.next_cut(0) == 8);
  CHECK(a.next_cut(8) == 16);
  CHECK(a.next_cut(16) == kNoCut);
}
