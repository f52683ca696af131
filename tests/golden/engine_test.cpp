// The engine on the demo model: stop strings, seeds, logprobs, cancellation, preemption, refusals, drain.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/engine/placed_model.hpp"
#include "tests/golden/demo.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const std::string kParis = "What is the capital of France?";

}  // namespace

TEST_CASE("an answer ends at the stop token, which is left out") {
  Demo demo;
  const Answer answer = generate(demo.engine, greedy(demo.chat(kParis), 50));
  CHECK(answer.text == "The capital of France is Paris.");
  CHECK(answer.finish == FinishReason::kStop);
  CHECK(answer.ids.size() == 7);
  CHECK(answer.usage.prompt_tokens == 15);
  CHECK(answer.usage.completion_tokens == 8);
}

TEST_CASE("stop strings cut the text wherever tokens fall, max_tokens ends with length") {
  Demo demo;
  auto request = greedy(demo.chat(kParis), 50);
  request.stop = {"of Fra", "zzz"};
  const Answer stopped = generate(demo.engine, request);
  CHECK(stopped.text == "The capital ");
  CHECK(stopped.finish == FinishReason::kStop);
  request = greedy(demo.chat(kParis), 3);
  const Answer cut = generate(demo.engine, request);
  CHECK(cut.text == "The capital of");
  CHECK(cut.finish == FinishReason::kLength);
  CHECK(cut.ids.size() == 3);
}

TEST_CASE("a seed fixes the answer, whatever else runs") {
  Demo demo;
  auto request = greedy(demo.chat("Tell me a story."), 40);
  request.sampling.temperature = 1.5f;
  request.sampling.seed = 11;
  request.ignore_eos = true;
  const Answer alone = generate(demo.engine, request);
  std::vector<Pending> crowd;
  for (int i = 0; i < 8; ++i) crowd.emplace_back(demo.engine, greedy(demo.chat(kParis), 30));
  CHECK(generate(demo.engine, request).ids == alone.ids);
  request.sampling.seed = 12;
  CHECK(generate(demo.engine, request).ids != alone.ids);
  for (Pending& other : crowd) CHECK(other.wait().text == "The capital of France is Paris.");
}

TEST_CASE("logprobs: each token's, the best first, and they are probabilities") {
  Demo demo;
  auto request = greedy(demo.chat(kParis), 50);
  request.logprobs = 5;
  const Answer answer = generate(demo.engine, request);
  REQUIRE(answer.logprobs.size() == answer.ids.size());
  for (std::size_t i = 0; i < answer.ids.size(); ++i) {
    const TokenLogprob& token = answer.logprobs[i];
    CHECK(token.id == answer.ids[i]);
    REQUIRE(token.top.size() == 5);
    CHECK(token.top[0].first == token.id);
    CHECK(token.top[0].second == token.logprob);
    double sum = 0;
    for (const auto& [id, logprob] : token.top) sum += std::exp(logprob);
    CHECK(sum > 0.5);
    CHECK(sum <= 1.0001);
  }
}

TEST_CASE("logit_bias and penalties reach the device, and the host where they are too many") {
  Demo demo;
  auto request = greedy(demo.chat(kParis), 50);
  const Answer plain = generate(demo.engine, request);
  request.sampling.logit_bias = {{plain.ids[0], -100.0f}};
  CHECK(generate(demo.engine, request).ids[0] != plain.ids[0]);
  // More entries than a step block holds: the same answer must come from the host's path.
  const Answer few = generate(demo.engine, request);
  for (TokenId id = 0; id < 2040; ++id)
    if (id != plain.ids[0]) request.sampling.logit_bias.emplace_back(id, 0.0f);
  CHECK(generate(demo.engine, request).ids == few.ids);
}

TEST_CASE("cancel ends a request within a step, others go on") {
  Demo demo;
  auto endless = greedy(demo.chat("Tell me a story."), 0);
  endless.ignore_eos = true;
  Pending first(demo.engine, endless);
  Pending second(demo.engine, greedy(demo.chat(kParis), 50));
  first.wait_events(3);
  demo.engine.cancel(first.id);
  const Answer cancelled = first.wait();
  CHECK(cancelled.finish == FinishReason::kCancelled);
  CHECK(cancelled.ids.size() < 900);
  CHECK(second.wait().text == "The capital of France is Paris.");
}

TEST_CASE("when KV blocks run out, sequences are preempted and still answer as if alone") {
  LoadOptions options;
  options.context = 256;
  options.cache_tokens = 320;
  Demo demo(options);
  auto request = greedy(demo.chat("Tell me a story."), 120);
  request.ignore_eos = true;
  const Answer alone = generate(demo.engine, request);
  std::vector<Pending> crowd;
  for (int i = 0; i < 6; ++i) crowd.emplace_back(demo.engine, request);
  for (Pending& other : crowd) CHECK(other.wait().ids == alone.ids);
  const EngineStats stats = demo.engine.stats();
  CHECK(stats.preemptions > 0);
}

TEST_CASE("a prefix that another request computed is found again, and changes no bit of the answer") {
  Demo demo, fresh({}, {.prefix_cache = false});
  const auto system = random_prompt(300, 5, 2048);
  const auto ask = [&](Demo& at, std::size_t size, std::string salt = {}) {
    auto request = greedy({system.begin(), system.begin() + static_cast<long>(size)}, 40);
    request.ignore_eos = true;
    request.logprobs = 3;
    request.cache_salt = std::move(salt);
    return generate(at.engine, request);
  };
  CHECK(ask(demo, 300).usage.cached_tokens == 0);
  const std::uint32_t block = demo.engine.model().device().blocks().block_tokens;
  // The same again; one that ends inside it; one whose last block is known to its end, so that it is copied.
  for (const std::size_t size : {std::size_t{300}, std::size_t{200}, std::size_t{4 * block}, std::size_t{4 * block}}) {
    const Answer cached = ask(demo, size), computed = ask(fresh, size);
    CHECK(cached.usage.cached_tokens == (size % block ? size / block * block : size - 1));
    CHECK(computed.usage.cached_tokens == 0);
    CHECK(cached.ids == computed.ids);
    for (std::size_t i = 0; i < cached.logprobs.size(); ++i)
      CHECK(cached.logprobs[i].logprob == computed.logprobs[i].logprob);
  }
  CHECK(ask(demo, 300, "tenant").usage.cached_tokens == 0);
  CHECK(ask(demo, 300, "tenant").usage.cached_tokens == 300 / block * block);
  const EngineStats stats = final_stats(demo);
  CHECK(stats.cached_tokens > 900);
  CHECK(stats.prefix_tokens > stats.cached_tokens);
  CHECK(stats.blocks_cached > 0);
  CHECK(stats.blocks_free == stats.blocks_total);
}

TEST_CASE("a follow-up question finds the answer before it") {
  Demo demo;
  auto first = greedy(demo.chat("Tell me a story."), 120);
  first.ignore_eos = true;
  const Answer answer = generate(demo.engine, first);
  auto second = first;
  second.prompt.insert(second.prompt.end(), answer.ids.begin(), answer.ids.end());
  const std::size_t known = second.prompt.size() - 1;  // the last token of an answer is never computed
  const std::uint32_t block = demo.engine.model().device().blocks().block_tokens;
  CHECK(generate(demo.engine, second).usage.cached_tokens == known / block * block);
}

TEST_CASE("requests that come together compute their common prefix once") {
  Demo demo;
  auto prompt = random_prompt(600, 7, 2048);
  std::vector<Pending> crowd;
  for (int i = 0; i < 6; ++i) {
    prompt.back() = i;
    crowd.emplace_back(demo.engine, greedy(prompt, 4));
  }
  for (Pending& one : crowd) one.wait();
  const EngineStats stats = final_stats(demo);
  CHECK(stats.prompt_tokens < 600 + 6 * 64);
  CHECK(stats.prompt_tokens + stats.cached_tokens == stats.prefix_tokens);
}

TEST_CASE("the prefix cache under pressure: evicted, preempted and cancelled, and every answer as if alone") {
  LoadOptions options;
  options.context = 256;
  options.cache_tokens = 448;
  Demo demo(options), fresh(options, {.prefix_cache = false});
  std::vector<Answer> alone;
  const auto request = [&](unsigned kind) {
    auto prompt = random_prompt(100, kind % 2, 2048);
    prompt.resize(60 + kind * 9);
    auto one = greedy(prompt, 90);
    one.ignore_eos = true;
    return one;
  };
  for (unsigned kind = 0; kind < 4; ++kind) alone.push_back(generate(fresh.engine, request(kind)));
  for (int round = 0; round < 3; ++round) {
    std::vector<Pending> crowd, cancelled;
    for (unsigned i = 0; i < 8; ++i) crowd.emplace_back(demo.engine, request(i % 4));
    for (unsigned i = 0; i < 2; ++i) cancelled.emplace_back(demo.engine, request(i));
    for (Pending& one : cancelled) demo.engine.cancel(one.id);
    for (unsigned i = 0; i < 8; ++i) CHECK(crowd[i].wait().ids == alone[i % 4].ids);
  }
  const EngineStats stats = final_stats(demo);
  CHECK(stats.preemptions > 0);
  CHECK(stats.cached_tokens > 0);
}

TEST_CASE("a request that takes longer than it may ends with an error that says so") {
  Demo demo;
  auto endless = greedy(demo.chat("Tell me a story."), 0);
  endless.ignore_eos = true;
  endless.timeout = std::chrono::milliseconds(1);
  const Answer late = generate(demo.engine, endless);
  CHECK(late.finish == FinishReason::kError);
  CHECK(late.error_kind == ErrorKind::kTimeout);
  CHECK(late.error.find("timeout of 1 ms has passed") != std::string::npos);
  endless.timeout = std::chrono::hours(1);
  endless.max_tokens = 5;
  CHECK(generate(demo.engine, endless).finish == FinishReason::kLength);
  CHECK(final_stats(demo).timed_out == 1);
}

TEST_CASE("a full queue refuses with the time after which to come again; a client has a limit of its own") {
  LoadOptions options;
  options.max_sequences = 1;
  Demo demo(options, {.max_queue = 2, .max_queue_per_client = 2});
  auto endless = greedy(demo.chat("Tell me a story."), 0);
  endless.ignore_eos = true;
  const auto refusal = [&](const std::string& client) -> std::string {
    endless.client = client;
    try {
      demo.engine.submit(endless, [](GenerationEvent&&) {});
    } catch (const BusyError& error) {
      CHECK(error.retry_after().count() >= 1);
      return error.what();
    }
    return "";
  };
  CHECK(refusal("a").empty());
  CHECK(refusal("a").empty());
  CHECK(refusal("a").find("this client has 2 requests under way") == 0);
  CHECK(refusal("b").empty());
  CHECK(refusal("c").find("the queue is full (2 requests wait); try again in about ") == 0);
  CHECK(demo.engine.stats().refused == 2);
}

TEST_CASE("a steady step submits once and allocates nothing") {
  Demo demo;
  generate(demo.engine, greedy(demo.chat(kParis), 20));
  CHECK(demo.engine.stats().submits_per_step == 1);
  CHECK(demo.engine.stats().allocs_per_step == 0);
}

TEST_CASE("requests that can never run are refused by name") {
  Demo demo({}, {.max_queue = 2});
  const auto param_of = [&](GenerationRequest request) {
    try {
      demo.engine.submit(std::move(request), [](GenerationEvent&&) {});
    } catch (const Error& error) {
      return error.param();
    }
    return std::string("accepted");
  };
  CHECK(param_of(greedy({}, 1)) == "prompt");
  CHECK(param_of(greedy({5000}, 1)) == "prompt");
  CHECK(param_of(greedy(std::vector<TokenId>(1024, 1), 1)) == "prompt");
  auto request = greedy({1}, 1);
  request.sampling.top_p = 2;
  CHECK(param_of(request) == "top_p");
  request = greedy({1}, 1);
  request.stop = {""};
  CHECK(param_of(request) == "stop");
}

TEST_CASE("drain lets running requests finish and refuses new ones") {
  Demo demo;
  Pending running(demo.engine, greedy(demo.chat(kParis), 50));
  CHECK(demo.engine.drain(std::chrono::seconds(30)));
  CHECK(running.wait().text == "The capital of France is Paris.");
  CHECK_THROWS_AS(demo.engine.submit(greedy({1}, 1), [](GenerationEvent&&) {}), Error);
}
