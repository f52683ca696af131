// Log-probabilities of a prompt: what is read of a row, and which rows the scheduler gives logits.
#include "core/engine/prompt_logprobs.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "core/engine/scheduler.hpp"
#include "tests/unit/engine/fake_row.hpp"

using namespace nacelle;

namespace {

GenerationRequest request_for(std::size_t prompt, std::optional<std::uint32_t> alternatives) {
  GenerationRequest request;
  request.prompt.assign(prompt, 1);
  request.prompt_logprobs = alternatives;
  return request;
}

KvBlocks blocks_of_four(std::uint32_t count) {
  KvBlocks blocks;
  blocks.block_tokens = 4;
  blocks.windows = {0};
  blocks.pools.emplace_back(count);
  return blocks;
}

std::unique_ptr<Sequence> sequence_for(RequestId id, KvBlocks& blocks, const GenerationRequest& request) {
  return std::make_unique<Sequence>(
      id, request, [](GenerationEvent&&) {}, blocks, nullptr, 0,
      static_cast<std::uint32_t>(request.prompt.size()) + 10);
}

// Plays the engine for one step; returns [begin, rows, scores] of each chunk.
std::vector<std::vector<std::uint32_t>> play_step(Scheduler& scheduler) {
  std::vector<std::vector<std::uint32_t>> result;
  test::FakeRow row({0, 0, 0, 0}, 2);
  for (const Chunk& chunk : scheduler.plan()) {
    Sequence& sequence = *chunk.sequence;
    result.push_back({chunk.begin, chunk.rows(), chunk.scores});
    const bool answers = chunk.wants_logits();
    sequence.computed = chunk.begin + chunk.count;
    for (std::uint32_t i = 0; i < chunk.scores; ++i) sequence.prompt_logprobs.add(row, sequence.tokens);
    if (answers) sequence.tokens.push_back(1);
    sequence.blocks.publish(sequence.tokens, sequence.computed);
  }
  return result;
}

using Played = std::vector<std::vector<std::uint32_t>>;

}  // namespace

TEST_CASE("a token's number, place and alternatives, among the candidates and beyond them") {
  GenerationRequest request = request_for(4, 2);
  request.prompt = {7, 0, 3, 1};
  PromptLogprobs prompt(request);
  CHECK(prompt.wanted(0, 10) == 3);
  const double sum = std::exp(1.0) + std::exp(3.0) + std::exp(2.0) + std::exp(2.0);
  const auto logprob = [&](double logit) { return Approx(logit - std::log(sum)).margin(1e-6); };
  test::FakeRow row({1, 3, 2, 2}, 2);
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(prompt.done());
    prompt.add(row, request.prompt);
  }
  CHECK(prompt.done());
  CHECK(row.whole_reads == 2);  // of tokens 0 and 3, which are no candidates
  const auto all = prompt.take();
  REQUIRE(all.size() == 4);
  CHECK(all[0].id == 7);
  CHECK(all[0].rank == 0);
  CHECK(all[0].top.empty());
  const TokenId ids[] = {0, 3, 1};
  const std::uint32_t ranks[] = {4, 3, 1};
  const double logits[] = {1, 2, 3};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(all[i + 1].id == ids[i]);
    CHECK(all[i + 1].rank == ranks[i]);
    CHECK(all[i + 1].logprob == logprob(logits[i]));
    REQUIRE(all[i + 1].top.size() == 2);
    CHECK(all[i + 1].top[0].first == 1);
    CHECK(all[i + 1].top[0].second == logprob(3));
    CHECK(all[i + 1].top[1].first == 2);
  }
  CHECK(prompt.take().empty());
}

TEST_CASE("where nothing is asked nothing is wanted, and a prompt of one token has no row to read") {
  PromptLogprobs none(request_for(9, std::nullopt)), one(request_for(1, 0));
  CHECK(none.done());
  CHECK(none.wanted(0, 9) == 0);
  CHECK(none.take().empty());
  CHECK(one.done());
  CHECK(one.take().size() == 1);
}

TEST_CASE("a prompt is cut so that its rows of logits fit a step, and others keep room for theirs") {
  KvBlocks blocks = blocks_of_four(100);
  Scheduler scheduler({.max_sequences = 3, .max_rows = 64, .max_guesses = 4}, blocks);
  scheduler.add(sequence_for(1, blocks, request_for(20, 0)));
  CHECK(play_step(scheduler) == Played{{0, 7, 7}});
  scheduler.add(sequence_for(2, blocks, request_for(5, std::nullopt)));
  CHECK(play_step(scheduler) == Played{{7, 6, 6}, {0, 5, 0}});
  CHECK(play_step(scheduler) == Played{{5, 1, 0}, {13, 6, 6}});
  CHECK(play_step(scheduler) == Played{{19, 1, 0}, {6, 1, 0}});  // the last row's logits are the answer's
}

TEST_CASE("guesses wait while a prompt wants its rows") {
  KvBlocks blocks = blocks_of_four(100);
  Scheduler scheduler({.max_sequences = 3, .max_rows = 64, .max_guesses = 4}, blocks);
  scheduler.add(sequence_for(1, blocks, request_for(3, std::nullopt)));
  play_step(scheduler);
  std::vector<Sequence*> decoding;
  const auto guess = [&] {
    scheduler.list_decoding(decoding);
    decoding.at(0)->guess = {1, 1, 1, 1};
  };
  guess();
  CHECK(play_step(scheduler) == Played{{3, 5, 0}});
  scheduler.add(sequence_for(2, blocks, request_for(20, 0)));
  guess();
  CHECK(play_step(scheduler) == Played{{4, 5, 0}, {0, 2, 2}});  // not known before it runs: what is left
  guess();
  CHECK(play_step(scheduler) == Played{{5, 1, 0}, {2, 6, 6}});
}

TEST_CASE("the prefix cache serves no row whose logits are wanted") {
  KvBlocks blocks = blocks_of_four(100);
  blocks.sharing = true;
  Scheduler scheduler({.max_sequences = 3, .max_rows = 64, .max_guesses = 20}, blocks);
  scheduler.add(sequence_for(1, blocks, request_for(16, std::nullopt)));
  CHECK(play_step(scheduler) == Played{{0, 16, 0}});
  scheduler.remove(1);
  scheduler.add(sequence_for(2, blocks, request_for(16, 0)));
  CHECK(play_step(scheduler) == Played{{0, 16, 15}});
  scheduler.remove(2);
  // Once read, as after a preemption, they are like any other.
  auto third = sequence_for(3, blocks, request_for(16, 0));
  test::FakeRow row({0, 0, 0, 0}, 2);
  for (int i = 0; i < 10; ++i) third->prompt_logprobs.add(row, third->tokens);
  scheduler.add(std::move(third));
  CHECK(play_step(scheduler) == Played{{8, 8, 5}});
}

TEST_CASE("prompts that begin alike do not wait for each other where their rows are wanted") {
  KvBlocks blocks = blocks_of_four(100);
  blocks.sharing = true;
  Scheduler scheduler({.max_sequences = 2, .max_rows = 64, .max_guesses = 30}, blocks);
  for (RequestId id = 1; id <= 2; ++id) scheduler.add(sequence_for(id, blocks, request_for(12, 0)));
  CHECK(play_step(scheduler) == Played{{0, 12, 11}, {0, 12, 11}});
}

TEST_CASE("the mean of hidden rows wants each of them, and takes them row by row") {
  GenerationRequest request = request_for(4, std::nullopt);
  request.embed = request.mean = true;
  PromptLogprobs rows(request);
  CHECK(rows.wanted(0, 4) == 3);
  CHECK(rows.wanted(0, 2) == 2);
  for (const float x : {1.0f, 2.0f, 6.0f}) {
    CHECK_FALSE(rows.done());
    rows.add_hidden(std::vector<float>{x, -x});
  }
  CHECK(rows.done());
  CHECK(rows.wanted(0, 4) == 0);  // computed anew after a preemption
  CHECK(rows.mean(std::vector<float>{3, 1}) == std::vector<float>{3, -2});
  CHECK(rows.take().empty());
  request.mean = false;
  CHECK(PromptLogprobs(request).done());
}
