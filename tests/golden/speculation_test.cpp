// Speculation on the demo model: it changes no token, no logprob and no text, greedy or sampled, whatever else runs.
#include <catch2/catch.hpp>

#include "core/constrain/constraint.hpp"
#include "tests/golden/demo.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const SpeculationOptions kNever = {.lookup = false, .draft = nullptr};
const SpeculationOptions kAlways = {.lookup = true, .draft = nullptr, .max_guesses = 8, .measured = false};

// A text that repeats itself, so that guesses come true now and then.
GenerationRequest repetitive(const Demo& demo, float temperature, std::uint64_t seed) {
  auto request = greedy(demo.chat("Tell me a story. Tell me a story. Tell me a story about a story."), 150);
  request.sampling.temperature = temperature;
  request.sampling.top_p = 0.95f;
  request.sampling.seed = seed;
  request.ignore_eos = true;
  request.logprobs = 2;
  return request;
}

void check_same(const Answer& a, const Answer& b) {
  CHECK(a.ids == b.ids);
  CHECK(a.text == b.text);
  CHECK(a.finish == b.finish);
  CHECK(a.usage.completion_tokens == b.usage.completion_tokens);
  REQUIRE(a.logprobs.size() == b.logprobs.size());
  for (std::size_t i = 0; i < a.logprobs.size(); ++i) {
    CHECK(a.logprobs[i].logprob == b.logprobs[i].logprob);
    CHECK(a.logprobs[i].top == b.logprobs[i].top);
  }
}

void check_same_answers(Demo& plain, Demo& guessing) {
  for (const float temperature : {0.0f, 0.3f, 1.0f})
    for (const std::uint64_t seed : {1u, 2u})
      check_same(generate(plain.engine, repetitive(plain, temperature, seed)),
                 generate(guessing.engine, repetitive(guessing, temperature, seed)));
}

}  // namespace

TEST_CASE("looked-up guesses change nothing, greedy or sampled") {
  Demo plain({}, {.speculation = kNever}), guessing({}, {.speculation = kAlways});
  check_same_answers(plain, guessing);
  const EngineStats stats = final_stats(guessing), without = final_stats(plain);
  CHECK(stats.accepted_tokens > 50);
  CHECK(stats.guessed_tokens > stats.accepted_tokens);
  CHECK(stats.steps < without.steps);
  CHECK(stats.generated_tokens == without.generated_tokens);
  CHECK(without.guessed_tokens == 0);
}

TEST_CASE("an answer ends where it would without guesses: stop strings, stop tokens, max_tokens") {
  Demo plain({}, {.speculation = kNever}), guessing({}, {.speculation = kAlways});
  auto request = repetitive(plain, 0, 1);
  const Answer whole = generate(plain.engine, request);
  request.stop = {whole.text.substr(whole.text.size() / 2, 7)};
  check_same(generate(plain.engine, request), generate(guessing.engine, request));
  request.stop.clear();
  for (const std::uint32_t most : {1u, 2u, 33u, 34u, 35u}) {
    request.max_tokens = most;
    check_same(generate(plain.engine, request), generate(guessing.engine, request));
  }
  request = repetitive(plain, 0, 1);
  request.ignore_eos = false;
  check_same(generate(plain.engine, request), generate(guessing.engine, request));
}

TEST_CASE("guesses in a crowd, under preemption, and beside penalties") {
  LoadOptions small;
  small.context = 256;
  small.cache_tokens = 448;
  Demo plain({}, {.speculation = kNever}), guessing(small, {.speculation = kAlways});
  std::vector<GenerationRequest> requests;
  for (std::uint64_t i = 0; i < 9; ++i) {
    requests.push_back(repetitive(plain, i % 3 == 0 ? 0.0f : 0.7f, i));
    if (i % 4 == 3) requests.back().sampling.frequency_penalty = 0.5f;
  }
  std::vector<Pending> crowd;
  for (const GenerationRequest& request : requests) crowd.emplace_back(guessing.engine, request);
  for (std::size_t i = 0; i < crowd.size(); ++i) check_same(generate(plain.engine, requests[i]), crowd[i].wait());
  const EngineStats stats = final_stats(guessing);
  CHECK(stats.preemptions > 0);
  CHECK(stats.accepted_tokens > 50);
}

TEST_CASE("guesses under a grammar: masks of every guessed row, and text that is forced") {
  Demo plain({}, {.speculation = kNever}), guessing({}, {.speculation = kAlways});
  using Kind = constrain::ConstraintSpec::Kind;
  const std::string schema = R"({"type":"array","minItems":4,"maxItems":6,"items":{"type":"object",
                                 "properties":{"name":{"type":"string","maxLength":6},"big":{"type":"boolean"}},
                                 "required":["name","big"],"additionalProperties":false}})";
  // From the start, and from the first full stop of an answer that is free until then.
  const constrain::ConstraintSpec specs[] = {
      {Kind::kJsonSchema, schema, {}, "response_format"},
      {Kind::kComposition, R"([{"until":["."],"tokens":true},".",{"schema":)" + schema + "}]", {}, "tools"}};
  const auto ask = [&](Demo& demo, int kind) {
    const constrain::ConstraintSpec& spec = specs[kind / 8];
    auto request = repetitive(demo, kind % 3 == 0 ? 0.0f : 1.0f, static_cast<std::uint64_t>(kind));
    request.grammar = demo.engine.model().grammars().get(spec);
    request.ignore_eos = false;
    if (kind % 2) request.logprobs.reset();  // then forced text is not asked for
    if (kind % 4 == 3)                       // more adjustments than a step block holds: masked on the host
      for (TokenId id = 0; id < 600; ++id) request.sampling.logit_bias.emplace_back(id, 0.01f);
    return generate(demo.engine, request);
  };
  for (int kind = 0; kind < 16; ++kind) check_same(ask(plain, kind), ask(guessing, kind));
  CHECK(final_stats(guessing).accepted_tokens > 40);
}

TEST_CASE("a draft model that is the model itself guesses right every time") {
  Demo plain({}, {.speculation = kNever});
  SpeculationOptions itself = {
      .lookup = false, .draft = Demo::load(*plain.host, {}), .max_guesses = 4, .measured = false};
  Demo guessing({}, {.speculation = itself});
  check_same_answers(plain, guessing);
  const EngineStats stats = final_stats(guessing);
  CHECK(stats.guessed_tokens > 500);
  CHECK(stats.accepted_tokens == stats.guessed_tokens);
  CHECK(stats.draft_seconds > 0);
}

TEST_CASE("a draft model that is often wrong changes nothing either") {
  Demo plain({}, {.speculation = kNever});
  LoadOptions small;
  small.context = 128;  // shorter than the answers: from there on it guesses no more
  small.cache_tokens = 320;
  small.key_type = small.value_type = NACELLE_TYPE_Q4_0;  // a coarser cache: other logits
  SpeculationOptions other = {
      .lookup = false, .draft = Demo::load(*plain.host, small), .max_guesses = 4, .measured = false};
  Demo guessing({}, {.speculation = other});
  std::vector<GenerationRequest> requests;
  for (std::uint64_t i = 0; i < 5; ++i) {
    requests.push_back(repetitive(plain, 1.3f, i));
    requests.back().sampling.logit_bias = {{static_cast<TokenId>(100 + i), 3.0f}};
  }
  std::vector<Pending> crowd;
  for (const GenerationRequest& request : requests) crowd.emplace_back(guessing.engine, request);
  guessing.engine.cancel(crowd[2].id);
  for (std::size_t i = 0; i < crowd.size(); ++i)
    if (i != 2) check_same(generate(plain.engine, requests[i]), crowd[i].wait());
  const EngineStats stats = final_stats(guessing);
  CHECK(stats.accepted_tokens > 0);
  CHECK(stats.accepted_tokens < stats.guessed_tokens);
}

TEST_CASE("a draft model with other tokens is refused") {
  if (!have_shared("models/stories260K/stories260K.gguf")) return;
  const auto host = make_host();
  const auto target = Demo::load(*host, {});
  const auto draft =
      Model::load(*host, {.path = shared_dir() / "models/stories260K/stories260K.gguf", .device = "cpu"});
  CHECK_THROWS_WITH(Engine(target, {.speculation = {.lookup = false, .draft = draft}}),
                    Catch::Contains("cannot guess for nacelle-demo-q8_0: its vocabulary has 512 tokens, not 2048"));
}

#if !NACELLE_SANITIZED  // what is measured there is the sanitizer
TEST_CASE("measured, guesses are made where they pay, and the answer is the same") {
  Demo plain({}, {.speculation = kNever}), guessing;
  check_same_answers(plain, guessing);
}
#endif
