// Log-probabilities of a prompt's tokens on the demo model: those of the logits behind each prefix, computed by itself
// and below the engine's loop, whatever the prompt is cut into and whatever else runs. tests/families holds them
// against NumPy.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/constrain/constraint.hpp"
#include "tests/golden/demo.hpp"
#include "tests/golden/last_logits.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

constexpr std::uint32_t kTop = 3;

GenerationRequest asking(std::vector<TokenId> prompt, std::uint32_t max_tokens) {
  GenerationRequest request = greedy(std::move(prompt), max_tokens);
  request.prompt_logprobs = kTop;
  request.prompt_only = max_tokens == 0;
  request.ignore_eos = true;
  request.logprobs = 1;
  return request;
}

// By definition, from the whole row of logits.
TokenLogprob score(const std::vector<float>& logits, TokenId token) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  std::vector<TokenId> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
  const auto at = [&](TokenId id) { return logits[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return at(a) > at(b); });
  const auto logprob = [&](TokenId id) { return static_cast<float>(at(id) - std::log(sum)); };
  TokenLogprob result{.id = token, .logprob = logprob(token), .top = {}};
  for (std::uint32_t i = 0; i < kTop; ++i) result.top.emplace_back(order[i], logprob(order[i]));
  result.rank = static_cast<std::uint32_t>(std::find(order.begin(), order.end(), token) - order.begin() + 1);
  return result;
}

std::vector<TokenLogprob> direct(Model& model, const std::vector<TokenId>& prompt) {
  std::vector<TokenLogprob> result{{.id = prompt[0], .top = {}}};
  std::vector<std::vector<TokenId>> prefixes;
  for (std::size_t i = 1; i < prompt.size(); ++i) {
    prefixes.emplace_back(prompt.begin(), prompt.begin() + static_cast<long>(i));
    if (prefixes.size() < model.options().max_sequences && i + 1 < prompt.size()) continue;
    for (const auto& logits : last_logits(model, prefixes, 64)) result.push_back(score(logits, prompt[result.size()]));
    prefixes.clear();
  }
  return result;
}

void check_definition(const std::vector<TokenLogprob>& got, const std::vector<TokenLogprob>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("token " << i);
    CHECK(got[i].id == expected[i].id);
    CHECK(got[i].rank == expected[i].rank);
    CHECK(got[i].logprob == Approx(expected[i].logprob).margin(2e-5));
    REQUIRE(got[i].top.size() == expected[i].top.size());
    for (std::size_t k = 0; k < got[i].top.size(); ++k) {
      CHECK(got[i].top[k].first == expected[i].top[k].first);
      CHECK(got[i].top[k].second == Approx(expected[i].top[k].second).margin(2e-5));
    }
  }
}

// To the bit, and the answer too.
void check_same_prompt(const Answer& got, const Answer& expected) {
  REQUIRE(got.error == "");
  REQUIRE(got.prompt_logprobs.size() == expected.prompt_logprobs.size());
  for (std::size_t i = 0; i < got.prompt_logprobs.size(); ++i) {
    const TokenLogprob &a = got.prompt_logprobs[i], &b = expected.prompt_logprobs[i];
    CHECK((a.id == b.id && a.rank == b.rank && a.logprob == b.logprob && a.top == b.top));
  }
  CHECK(got.ids == expected.ids);
  CHECK(got.finish == expected.finish);
}

}  // namespace

TEST_CASE("a prompt's log-probabilities are those of the logits behind each of its prefixes") {
  Demo demo;
  const auto model = Demo::load(*demo.host, {});
  // The longest takes several steps.
  for (const auto& prompt : {std::vector<TokenId>{7}, std::vector<TokenId>{7, 8}, demo.chat("What is 23 + 45?"),
                             random_prompt(50, 1, 2048), random_prompt(150, 2, 2048)}) {
    const Answer answer = generate(demo.engine, asking(prompt, 4));
    check_definition(answer.prompt_logprobs, direct(*model, prompt));
    CHECK(answer.ids.size() == 4);
    CHECK(answer.logprobs.size() == 4);
  }
  const EngineStats stats = final_stats(demo);
  CHECK(stats.cached_tokens == 0);
  CHECK(stats.prompt_tokens == 1 + 2 + demo.chat("What is 23 + 45?").size() + 200);
}

TEST_CASE("no bit changes by the size of steps, by what is cached, or by what runs beside") {
  const auto prompt = random_prompt(200, 3, 2048);
  Demo plain({}, {.prefix_cache = false});
  const Answer expected = generate(plain.engine, asking(prompt, 20));
  for (const auto& [sequences, rows] : {std::pair{1u, 512u}, {32u, 7u}, {2u, 33u}}) {
    LoadOptions options;
    options.max_sequences = sequences;
    options.max_batch_tokens = rows;
    Demo small(options);
    check_same_prompt(generate(small.engine, asking(prompt, 20)), expected);
  }
  Demo demo({}, {.speculation = {.lookup = true, .draft = nullptr, .max_guesses = 8, .measured = false}});
  auto without = asking(prompt, 20);
  without.prompt_logprobs.reset();
  CHECK(generate(demo.engine, without).ids == expected.ids);  // now all of it is in the cache
  std::vector<Pending> crowd, others;
  for (int i = 0; i < 6; ++i) {
    others.emplace_back(demo.engine, without);
    crowd.emplace_back(demo.engine, asking(prompt, 20));
  }
  for (Pending& one : crowd) {
    const Answer answer = one.wait();
    check_same_prompt(answer, expected);
    CHECK(answer.usage.cached_tokens == 0);
  }
  for (Pending& one : others) CHECK(one.wait().ids == expected.ids);
}

TEST_CASE("preemption neither loses nor doubles a prompt's log-probabilities") {
  LoadOptions options;
  options.context = 256;
  options.cache_tokens = 448;
  for (const bool caching : {true, false}) {
    Demo demo(options, {.prefix_cache = caching});
    std::vector<Answer> alone;
    std::vector<GenerationRequest> requests;
    for (unsigned i = 0; i < 4; ++i) {
      requests.push_back(asking(random_prompt(120 + 20 * i, i % 2, 2048), 50));
      alone.push_back(generate(demo.engine, requests.back()));
    }
    std::vector<Pending> crowd;
    for (std::size_t i = 0; i < 12; ++i) {
      GenerationRequest request = requests[i % 4];
      if (i >= 8) request.priority = -1;  // takes the blocks of those before, in the middle of their prompts too
      if (i == 8) crowd[0].wait_events(1);
      crowd.emplace_back(demo.engine, std::move(request));
    }
    for (std::size_t i = 0; i < crowd.size(); ++i) check_same_prompt(crowd[i].wait(), alone[i % 4]);
    CHECK(final_stats(demo).preemptions > 0);
  }
}

TEST_CASE("what changes the choice of tokens changes no log-probability of the prompt") {
  Demo demo;
  const auto prompt = demo.chat("Is it true?");
  const Answer expected = generate(demo.engine, asking(prompt, 1));
  auto request = asking(prompt, 8);
  request.sampling.temperature = 1.7f;
  request.sampling.repetition_penalty = 1.5f;
  request.sampling.logit_bias = {{prompt[3], 50.0f}};
  request.ignore_eos = false;
  request.grammar =
      demo.engine.model().grammars().get({constrain::ConstraintSpec::Kind::kChoice, {}, {"yes", "no"}, "choice"});
  for (const bool crowded : {false, true}) {
    if (crowded)  // more than a step block holds: adjusted on the host
      for (TokenId id = 0; id < 2040; ++id) request.sampling.logit_bias.emplace_back(id, 0.5f);
    const Answer answer = generate(demo.engine, request);
    CHECK((answer.text == "yes" || answer.text == "no"));
    REQUIRE(answer.prompt_logprobs.size() == prompt.size());
    for (std::size_t i = 0; i < prompt.size(); ++i) {
      CHECK(answer.prompt_logprobs[i].logprob == expected.prompt_logprobs[i].logprob);
      CHECK(answer.prompt_logprobs[i].top == expected.prompt_logprobs[i].top);
    }
  }
}

TEST_CASE("a prompt alone: one event, no token, and it may fill the context") {
  LoadOptions options;
  options.context = 128;
  Demo demo(options);
  const auto prompt = random_prompt(128, 4, 2048);
  const Answer answer = generate(demo.engine, asking(prompt, 0));
  CHECK(answer.finish == FinishReason::kLength);
  CHECK(answer.ids.empty());
  CHECK(answer.text.empty());
  CHECK(answer.usage.completion_tokens == 0);
  const auto model = Demo::load(*demo.host, options);
  check_definition(answer.prompt_logprobs, direct(*model, prompt));
  CHECK_THROWS_WITH(generate(demo.engine, asking(prompt, 1)), Catch::Contains("shorten the prompt"));
  CHECK_THROWS_WITH(generate(demo.engine, asking(random_prompt(129, 4, 2048), 0)), Catch::Contains("129 tokens"));
  auto greedy_one = asking({1, 2}, 0);
  greedy_one.prompt_logprobs = 21;
  CHECK_THROWS_WITH(generate(demo.engine, greedy_one), Catch::Contains("at most 20"));
  greedy_one.prompt_logprobs.reset();
  CHECK(generate(demo.engine, greedy_one).prompt_logprobs.empty());
  CHECK(final_stats(demo).request_time.sum >= 0);
}

TEST_CASE("the token that ended an answer has its log-probability where that is asked") {
  Demo demo;
  auto request = greedy(demo.chat("What is the capital of France?"), 50);
  request.logprobs = 1;
  request.stop_logprob = true;
  const Answer answer = generate(demo.engine, request);
  CHECK(answer.finish == FinishReason::kStop);
  REQUIRE(answer.logprobs.size() == answer.ids.size() + 1);
  CHECK(answer.logprobs.back().id == demo.engine.model().stop_ids().back());
}
