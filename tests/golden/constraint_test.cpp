// Constrained answers of the demo model, by the engine.
#include "core/constrain/constraint.hpp"

#include <catch2/catch.hpp>
#include <future>
#include <utility>

#include "core/engine/constraint.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

using Spec = constrain::ConstraintSpec;

struct ConstrainedDemo {
  explicit ConstrainedDemo(LoadOptions options = {}) : host(make_host()), engine(load(*host, std::move(options))) {}
  static std::shared_ptr<Model> load(PluginHost& host, LoadOptions options) {
    options.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
    options.device = "cpu";
    return Model::load(host, options);
  }
  GenerationRequest ask(const Spec& spec, std::uint32_t max_tokens = 200) const {
    GenerationRequest request =
        greedy(engine.model().tokenizer().encode(
                   "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
                   {.add_special = false}),
               max_tokens);
    request.grammar = engine.model().grammars().get(spec);
    return request;
  }
  std::unique_ptr<PluginHost> host;
  Engine engine;
};

const Spec kCapital{Spec::Kind::kJsonSchema,
                    R"({"type":"object","properties":{"capital_of_the_country":{"type":"string","maxLength":12},
                        "population":{"type":"integer","minimum":1,"maximum":99}},
                        "required":["capital_of_the_country","population"],"additionalProperties":false})",
                    {},
                    "response_format"};

// Many steps of work for each token; a grammar whose first mask costs so much is refused before it comes to an engine.
Spec ambiguous() {
  std::string text = "[a-z]{1,9}";
  for (int i = 0; i < 9; ++i) text = "(" + text + "){1,9}";
  return {Spec::Kind::kRegex, "Q: " + text, {}, "regex"};
}

bool fits(const std::string& text, const Spec& spec, const Model& model) {
  constrain::Matcher matcher(model.grammars().get(spec));
  for (const TokenId id : model.tokenizer().encode(text, {false, false}))
    if (!matcher.accept(id)) return false;
  return matcher.may_end();
}

}  // namespace

TEST_CASE("a constrained answer is what its grammar allows, greedy or drawn, and the others beside it are as ever") {
  ConstrainedDemo demo;
  const Answer greedy_answer = generate(demo.engine, demo.ask(kCapital));
  INFO(greedy_answer.text);
  CHECK(greedy_answer.finish == FinishReason::kStop);
  CHECK(fits(greedy_answer.text, kCapital, demo.engine.model()));
  CHECK(generate(demo.engine, demo.ask(kCapital)).ids == greedy_answer.ids);

  std::vector<Pending> pending;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    GenerationRequest request = demo.ask(kCapital);
    request.sampling.temperature = 1.5f;
    request.sampling.top_p = seed % 2 ? 0.9f : 1.0f;
    request.sampling.min_p = seed % 3 ? 0.0f : 0.01f;
    request.sampling.typical_p = seed % 4 == 1 ? 0.8f : 1.0f;
    request.sampling.repetition_penalty = 1.1f;
    request.sampling.seed = seed;
    // More adjustments than a step block holds: the row is masked on the host.
    if (seed % 5 == 0)
      for (TokenId id = 0; id < 600; ++id) request.sampling.logit_bias.emplace_back(id, 0.01f);
    pending.emplace_back(demo.engine, std::move(request));
  }
  GenerationRequest free = demo.ask(kCapital, 50);
  free.grammar = nullptr;
  CHECK(generate(demo.engine, free).text == "The capital of France is Paris.");
  for (Pending& one : pending) {
    const Answer answer = one.wait();
    INFO(answer.text);
    CHECK(answer.finish == FinishReason::kStop);
    CHECK(fits(answer.text, kCapital, demo.engine.model()));
  }
}

TEST_CASE("a grammar that the model's vocabulary cannot spell ends the answer with an error that says so") {
  const char* file = "models/tinystories-656k/tinystories-656k-f32.gguf";  // has no token for '/'
  if (!have_shared(file)) return;
  const auto host = make_host();
  Engine engine(Model::load(*host, {.path = shared_dir() / file, .device = "cpu"}));
  GenerationRequest request = greedy(engine.model().tokenizer().encode("Once", {}), 50);
  request.grammar = engine.model().grammars().get({Spec::Kind::kRegex, "[a-z]{3}/[a-z]", {}, "regex"});
  const Answer answer = generate(engine, request);
  CHECK(answer.finish == FinishReason::kError);
  CHECK(answer.error_kind == ErrorKind::kUnsupported);
  CHECK(answer.error.find("its vocabulary cannot spell") != std::string::npos);
  request.grammar = engine.model().grammars().get({Spec::Kind::kRegex, "[a-z]{3}", {}, "regex"});
  CHECK(generate(engine, request).finish == FinishReason::kStop);
}

TEST_CASE("forced text takes no steps of its own") {
  ConstrainedDemo demo;
  const Spec spec{Spec::Kind::kChoice,
                  "",
                  {"The answer to this question is very long and quite certain: Paris",
                   "The answer to this question is very long and quite certain: London"},
                  "choice"};
  const std::uint64_t before = demo.engine.stats().steps;
  const Answer answer = generate(demo.engine, demo.ask(spec));
  CHECK(answer.text.starts_with("The answer to this question is very long and quite certain: "));
  CHECK(answer.finish == FinishReason::kStop);
  CHECK(demo.engine.stats().steps - before < answer.usage.completion_tokens / 2);
  // With logprobs each token is asked for; the text is the same.
  GenerationRequest request = demo.ask(spec);
  request.logprobs = 2;
  const Answer slow = generate(demo.engine, request);
  CHECK(slow.text == answer.text);
  CHECK(slow.logprobs.size() == slow.ids.size());
}

TEST_CASE("constrained answers survive preemption, and end at max_tokens") {
  LoadOptions options;
  options.cache_tokens = 128;
  options.context = 128;
  ConstrainedDemo small(options), roomy;
  const Spec spec{Spec::Kind::kRegex, "([a-z]{2,5} ){8}end", {}, "regex"};
  std::vector<Pending> pending;
  for (int i = 0; i < 6; ++i) pending.emplace_back(small.engine, small.ask(spec, 60));
  const Answer expected = generate(roomy.engine, roomy.ask(spec, 60));
  for (Pending& one : pending) CHECK(one.wait().ids == expected.ids);
  const Answer cut = generate(roomy.engine, roomy.ask(spec, 3));
  CHECK(cut.finish == FinishReason::kLength);
  CHECK(cut.ids.size() == 3);
  GenerationRequest both = roomy.ask(spec);
  both.ignore_eos = true;
  CHECK_THROWS_WITH(roomy.engine.submit(both, [](GenerationEvent&&) {}), Catch::Contains("ignore_eos"));
}

TEST_CASE("a costly grammar slows its own answer and no other") {
  ConstrainedDemo demo;
  std::vector<Pending> costly;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    GenerationRequest request = demo.ask(ambiguous(), 12);
    request.sampling.temperature = 1.5f;
    request.sampling.seed = seed;
    costly.emplace_back(demo.engine, std::move(request));
  }
  Pending cheap(demo.engine, demo.ask(kCapital));
  GenerationRequest request = demo.ask(kCapital, 50);
  request.grammar = nullptr;
  const Answer free = generate(demo.engine, request);
  CHECK(free.text == "The capital of France is Paris.");
  CHECK(fits(cheap.wait().text, kCapital, demo.engine.model()));
  for (Pending& one : costly) {
    const Answer answer = one.wait();
    CHECK((answer.finish != FinishReason::kError || answer.error_kind == ErrorKind::kUnsupported));
  }
  const EngineStats stats = demo.engine.stats();
  // Without shares a single step does nearly all there is to do.
  CHECK(stats.grammar_work > 20 * ConstraintWork::kOfStep);
  CHECK(stats.grammar_work > 8 * stats.most_grammar_work);
}

TEST_CASE("the two steps behind one that gave grammars a whole share give them none") {
  ConstrainedDemo demo;
  GenerationRequest costly = demo.ask(ambiguous(), 12), plain = demo.ask(kCapital, 100);
  costly.sampling.temperature = 1.5f;
  plain.grammar = nullptr;
  plain.ignore_eos = true;
  std::vector<std::uint64_t> work;  // so far, at each of the plain answer's steps
  std::uint64_t steps = 0;
  std::promise<void> ended;
  Pending other(demo.engine, std::move(costly));
  demo.engine.submit(std::move(plain), [&](GenerationEvent&& event) {
    const EngineStats stats = demo.engine.stats();
    if (std::exchange(steps, stats.steps) != stats.steps) work.push_back(stats.grammar_work);
    if (event.finish != FinishReason::kNone) ended.set_value();
  });
  ended.get_future().wait();
  demo.engine.cancel_all();
  other.wait();
  int costly_steps = 0, in_a_row = 0, two_apart = 0;
  bool before = false, earlier = false;
  for (std::size_t i = 1; i < work.size(); ++i) {
    const bool now = work[i] - work[i - 1] > ConstraintWork::kOfStep / 2;
    costly_steps += now;
    in_a_row += now && before;
    two_apart += now && earlier;
    earlier = std::exchange(before, now);
  }
  CHECK(costly_steps > 5);
  CHECK(4 * two_apart < costly_steps);
  CHECK(4 * in_a_row < costly_steps);  // work is timed: a thread that must wait for a core may seem to do some
}
