// Guessing: what is looked up, when it pays, and how a plan makes room for it.
#include "core/engine/speculation.hpp"

#include <catch2/catch.hpp>

#include "core/engine/lookup.hpp"
#include "core/engine/scheduler.hpp"

using namespace nacelle;

namespace {

std::vector<TokenId> looked_up(std::vector<TokenId> tokens, std::uint32_t most) {
  std::vector<TokenId> guess = {99};
  look_up(tokens, most, guess);
  return guess;
}

}  // namespace

TEST_CASE("a guess is what followed the same tokens the last time") {
  CHECK(looked_up({1, 2, 3, 4, 5, 6, 1, 2, 3}, 3) == std::vector<TokenId>{4, 5, 6});
  CHECK(looked_up({1, 2, 3, 4, 7, 2, 3, 5, 8, 2, 3}, 1) == std::vector<TokenId>{5});  // the latest
  CHECK(looked_up({1, 2, 3, 4, 7, 2, 3, 5, 1, 2, 3}, 1) == std::vector<TokenId>{4});  // of three before two
  CHECK(looked_up({1, 2, 1, 2}, 5) == std::vector<TokenId>{1, 2, 1, 2, 1});           // round the circle
  CHECK(looked_up({7, 7, 7, 7}, 3) == std::vector<TokenId>{7, 7, 7});
  CHECK(looked_up({1, 2, 3, 4, 5}, 3).empty());
  CHECK(looked_up({1, 2, 3, 2}, 3).empty());  // one token says nothing
  CHECK(looked_up({1}, 3).empty());
  CHECK(looked_up({}, 3).empty());
}

TEST_CASE("the rate of acceptance follows what comes true, and is forgotten with time") {
  Acceptance acceptance;
  CHECK(acceptance.rate() == 0.5);
  for (int i = 0; i < 20; ++i) acceptance.note(4, 0);
  CHECK(acceptance.rate() < 0.15);
  for (int i = 0; i < 100; ++i) acceptance.age();
  CHECK(acceptance.rate() > 0.3);
  for (int i = 0; i < 40; ++i) acceptance.note(4, 4);
  CHECK(acceptance.rate() > 0.9);
  CHECK(acceptance.expected(2) == Approx(acceptance.rate() + acceptance.rate() * acceptance.rate()));
}

TEST_CASE("costs between measured row counts are interpolated, old ones forgotten") {
  StepCosts costs;
  CHECK(costs.estimate(1) == 0);
  costs.note(1, 10);
  CHECK(costs.estimate(1) == 10);
  CHECK(costs.estimate(3) == Approx(12));
  costs.note(5, 30);
  CHECK(costs.estimate(3) == Approx(20));
  CHECK(costs.estimate(200) > 30);
  for (int i = 0; i < 5000; ++i) costs.note(1, 10);
  CHECK(costs.estimate(5) == Approx(14));
}

TEST_CASE("guesses are made where they pay, and no more of them than do") {
  Acceptance good, bad;
  for (int i = 0; i < 30; ++i) good.note(8, 8), bad.note(8, 0);
  StepCosts cheap, dear;
  for (std::uint32_t rows = 1; rows <= 20; ++rows) {
    cheap.note(rows, 1 + 0.02 * rows);  // bound by memory: rows are almost free
    dear.note(rows, rows);              // bound by arithmetic
  }
  const auto count = [](const StepCosts& costs, std::vector<Guessable> sequences, std::uint32_t other_rows = 0,
                        double guess_seconds = 0) {
    return best_guess_count(sequences, static_cast<std::uint32_t>(sequences.size()),
                            {&costs, guess_seconds, other_rows, 16});
  };
  CHECK(count(cheap, {{&good, 8}}) == 8);
  CHECK(count(cheap, {{&good, 3}}) == 3);
  CHECK(count(cheap, {{&bad, 8}}) == 0);
  CHECK(count(dear, {{&good, 8}}) == 0);
  CHECK(count(cheap, {{&good, 8}, {&good, 8}, {&good, 8}, {&good, 8}}) == 4);  // 16 of all
  CHECK(count(cheap, {{&good, 8}}, 0, 1.5) == 0);                              // the draft model's own time
  CHECK(count(dear, {{&good, 8}}, 500) == 8);  // beside a prompt, rows cost next to nothing
  CHECK(count(StepCosts(), {{&good, 8}}) == 0);
}

TEST_CASE("a model with a state guesses where that pays for copies of it and for second steps") {
  Acceptance good, fair;
  for (int i = 0; i < 30; ++i) good.note(4, 4), fair.note(4, 1);
  StepCosts costs;
  for (std::uint32_t rows = 1; rows <= 20; ++rows) costs.note(rows, 1 + 0.05 * rows);
  const auto count = [&](const Acceptance& acceptance, std::optional<double> keep_seconds) {
    const Guessable one[] = {{&acceptance, 4}};
    return best_guess_count(one, 1, {&costs, 0, 0, 16, keep_seconds});
  };
  CHECK(count(good, std::nullopt) == 4);
  CHECK(count(good, 0.5) == 4);
  CHECK(count(good, 5) == 0);
  CHECK(count(fair, std::nullopt) > 0);
  CHECK(count(fair, 0.5) == 0);
}

TEST_CASE("a plan verifies guesses as far as answer, budget and blocks allow") {
  KvBlocks blocks;
  blocks.block_tokens = 4;
  blocks.windows = {0};
  blocks.pools.emplace_back(3);
  Scheduler scheduler({4, 8, 5}, blocks);
  GenerationRequest request;
  request.prompt.assign(3, 1);
  scheduler.add(std::make_unique<Sequence>(
      1, request, [](GenerationEvent&&) {}, blocks, nullptr, 0, 20));
  Sequence& sequence = *scheduler.plan()[0].sequence;
  const auto guesses = [&](std::uint32_t size, std::uint32_t limit) {
    sequence.limit = limit;
    sequence.guess.assign(size, 7);
    const Chunk& chunk = scheduler.plan()[0];
    CHECK(chunk.count == 1);
    CHECK(chunk.output_rows() == 1 + chunk.guesses);
    return chunk.guesses;
  };
  sequence.computed = 3;
  sequence.tokens.push_back(2);
  CHECK(guesses(2, 20) == 2);
  CHECK(guesses(4, 20) == 4);
  CHECK(guesses(9, 7) == 2);  // the answer ends before
  CHECK(guesses(9, 5) == 0);
  sequence.computed = 7;
  sequence.tokens.assign(8, 1);
  CHECK(guesses(9, 20) == 0);  // five are the most of a step; their blocks would be the last
  sequence.blocks.reserve(12);
  CHECK(guesses(9, 20) == 0);  // 13 tokens
  CHECK(guesses(4, 20) == 4);
}
