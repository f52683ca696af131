// Scheduler and KV blocks: budget, order, chunked prefill, preemption, sliding windows. No model is needed.
#include "core/engine/scheduler.hpp"

#include <catch2/catch.hpp>

using namespace nacelle;

namespace {

constexpr std::uint32_t kBlock = 4;

KvBlocks make_blocks(std::uint32_t count, std::uint32_t window = 0) {
  KvBlocks blocks;
  blocks.block_tokens = kBlock;
  blocks.windows = {window};
  blocks.pools.emplace_back(count);
  return blocks;
}

std::unique_ptr<Sequence> make_sequence(RequestId id, KvBlocks& blocks, std::size_t prompt, std::uint32_t answer) {
  GenerationRequest request;
  request.prompt.assign(prompt, 1);
  return std::make_unique<Sequence>(
      id, request, [](GenerationEvent&&) {}, blocks, nullptr, 0, static_cast<std::uint32_t>(prompt) + answer);
}

// Plays the engine: computes the chunks, appends a token where logits are due, ends what is complete. Returns rows.
std::uint32_t play(Scheduler& scheduler, std::vector<RequestId>* ended = nullptr) {
  std::uint32_t rows = 0;
  std::vector<RequestId> done;
  for (const Chunk& chunk : scheduler.plan()) {
    rows += chunk.count;
    chunk.sequence->computed = chunk.begin + chunk.count;
    chunk.sequence->blocks.trim(chunk.sequence->computed);
    if (chunk.sequence->computed != chunk.sequence->size()) continue;
    chunk.sequence->tokens.push_back(2);
    if (chunk.sequence->size() >= chunk.sequence->limit) done.push_back(chunk.sequence->id);
  }
  for (const RequestId id : done) {
    scheduler.remove(id);
    if (ended) ended->push_back(id);
  }
  return rows;
}

}  // namespace

TEST_CASE("decoding sequences go first, a long prompt fills what is left of the budget") {
  KvBlocks blocks = make_blocks(100);
  Scheduler scheduler({4, 8}, blocks);
  scheduler.add(make_sequence(1, blocks, 3, 10));
  scheduler.add(make_sequence(2, blocks, 20, 10));
  CHECK(play(scheduler) == 8);  // 3 of the first, 5 of the second
  const auto& chunks = scheduler.plan();
  REQUIRE(chunks.size() == 2);
  CHECK(chunks[0].sequence->id == 1);
  CHECK(chunks[0].count == 1);
  CHECK(chunks[1].begin == 5);
  CHECK(chunks[1].count == 7);
  CHECK_FALSE(chunks[1].wants_logits());
}

TEST_CASE("an encoder's texts are never cut: one that does not fit the step waits for the next, and is not overtaken") {
  KvBlocks blocks;
  blocks.block_tokens = kBlock;
  Scheduler scheduler({.max_sequences = 8, .max_rows = 10, .whole_sequences = true}, blocks);
  for (const auto& [id, size] : {std::pair{1u, 6u}, {2u, 7u}, {3u, 2u}, {4u, 10u}})
    scheduler.add(make_sequence(id, blocks, size, 1));
  const auto next = [&] {
    std::vector<std::pair<RequestId, std::uint32_t>> texts;
    for (const Chunk& chunk : scheduler.plan()) texts.emplace_back(chunk.sequence->id, chunk.count);
    for (const auto& [id, count] : texts) scheduler.remove(id);
    return texts;
  };
  using Texts = std::vector<std::pair<RequestId, std::uint32_t>>;
  CHECK(next() == Texts{{1, 6}});
  CHECK(next() == Texts{{2, 7}, {3, 2}});
  CHECK(next() == Texts{{4, 10}});
  CHECK(next().empty());
}

TEST_CASE("no more sequences run than the step may hold") {
  KvBlocks blocks = make_blocks(100);
  Scheduler scheduler({2, 64}, blocks);
  for (RequestId id = 1; id <= 3; ++id) scheduler.add(make_sequence(id, blocks, 2, 2));
  play(scheduler);
  CHECK(scheduler.running() == 2);
  CHECK(scheduler.waiting() == 1);
}

TEST_CASE("when blocks run out the youngest is computed again later, and all end with all blocks back") {
  KvBlocks blocks = make_blocks(6);  // 24 tokens
  Scheduler scheduler({8, 16}, blocks);
  for (RequestId id = 1; id <= 5; ++id) scheduler.add(make_sequence(id, blocks, 5, 15));  // 20 tokens each
  std::vector<RequestId> ended;
  for (int steps = 0; steps < 500 && ended.size() < 5; ++steps) {
    play(scheduler, &ended);
    REQUIRE(blocks.pools[0].free() <= blocks.pools[0].total());
  }
  CHECK(ended.size() == 5);
  CHECK(ended.front() == 1);
  CHECK(scheduler.preemptions() > 0);
  CHECK(blocks.pools[0].free() == 6);
}

TEST_CASE("a sequence can be removed wherever it is, and its blocks come back") {
  KvBlocks blocks = make_blocks(10);
  Scheduler scheduler({1, 64}, blocks);
  scheduler.add(make_sequence(1, blocks, 5, 5));
  scheduler.add(make_sequence(2, blocks, 5, 5));
  play(scheduler);
  CHECK(scheduler.remove(2) != nullptr);
  CHECK(blocks.pools[0].free() < 10);
  CHECK(scheduler.remove(1) != nullptr);
  CHECK(scheduler.remove(1) == nullptr);
  CHECK(blocks.pools[0].free() == 10);
}

TEST_CASE("blocks that a sliding window has passed are free again") {
  KvBlocks blocks = make_blocks(10, 6);
  SequenceBlocks sequence(blocks);
  REQUIRE(sequence.reserve(20));  // 5 blocks
  sequence.trim(6);               // rows from 6 on see 1..: nothing whole is unseen
  CHECK(blocks.pools[0].free() == 5);
  sequence.trim(13);  // rows from 13 on see 8..: blocks 0 and 1 are unseen
  CHECK(blocks.pools[0].free() == 7);
  sequence.clear();
  CHECK(blocks.pools[0].free() == 10);
}
