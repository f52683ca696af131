// Low-rank adapters: what a server gives with one must be what it gives for the model with the adapter merged into its
// weights by another program (make_lora.py), whatever else is in the batch and in the caches.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>

#include "core/engine/placed_model.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const std::string kLoraBase = "models/tinystories-656k";

// What make_lora.py writes, made once for all tests.
class LoraFolder {
 public:
  static const std::filesystem::path& get() {
    static const LoraFolder folder;
    return folder.path_;
  }

 private:
  LoraFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nacelle-lora-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path_ = name;
    const std::string command = "python3 " + (source_dir() / "tests/golden/make_lora.py").string() + " " +
                                (shared_dir() / kLoraBase).string() + " " + name;
    REQUIRE(std::system(command.c_str()) == 0);
  }
  ~LoraFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path path_;
};

struct Lora {
  Lora(const std::filesystem::path& model, std::uint32_t slots, const std::string& device = "cpu",
       EngineOptions options = {}, bool embeddings = false)
      : host(make_host()), engine(load(*host, model, slots, device, embeddings), options) {}
  static std::shared_ptr<Model> load(PluginHost& host, const std::filesystem::path& path, std::uint32_t slots,
                                     const std::string& device, bool embeddings) {
    LoadOptions options;
    options.path = path;
    options.device = device;
    options.context = 256;
    options.max_adapters = slots;
    options.adapter_embeddings = embeddings;
    return Model::load(host, options);
  }
  AdapterPtr adapter(const std::string& name) const {
    return engine.model().load_adapter(name, LoraFolder::get() / name);
  }
  std::unique_ptr<PluginHost> host;
  Engine engine;
};

GenerationRequest story(AdapterPtr adapter = nullptr, unsigned seed = 3) {
  GenerationRequest request = greedy(random_prompt(24, seed, 2048), 48);
  request.ignore_eos = true;
  request.logprobs = 3;
  request.adapter = std::move(adapter);
  return request;
}

void check_same_bits(const Answer& one, const Answer& other) {
  CHECK(one.ids == other.ids);
  REQUIRE(one.logprobs.size() == other.logprobs.size());
  for (std::size_t i = 0; i < one.logprobs.size(); ++i) CHECK(one.logprobs[i].logprob == other.logprobs[i].logprob);
}

void check_near(const Answer& one, const Answer& other) {
  CHECK(one.ids == other.ids);
  REQUIRE(one.logprobs.size() == other.logprobs.size());
  for (std::size_t i = 0; i < one.logprobs.size(); ++i)
    CHECK(std::fabs(one.logprobs[i].logprob - other.logprobs[i].logprob) < 2e-4);
}

std::filesystem::path stories() { return shared_dir() / kLoraBase; }

}  // namespace

TEST_CASE("an adapter gives what the merged model gives") {
  if (!have_shared(kLoraBase)) return;
  for (const char* device : {"cpu", "reference"}) {
    Lora base(stories(), 2, device);
    const Answer plain = generate(base.engine, story());
    for (const char* name : {"a", "b"}) {
      Lora merged(LoraFolder::get() / ("merged-" + std::string(name)), 0, device);
      const Answer answer = generate(base.engine, story(base.adapter(name)));
      check_near(answer, generate(merged.engine, story()));
      CHECK(answer.ids != plain.ids);
    }
    check_same_bits(generate(base.engine, story()), plain);
  }
  // Each format of adapter on each format of model: rows of Q and K lie otherwise in GGUF.
  Lora gguf(stories() / "tinystories-656k-f32.gguf", 1), folder(stories(), 1);
  Lora merged(LoraFolder::get() / "merged-a.gguf", 0);
  const Answer expected = generate(merged.engine, story());
  for (const char* name : {"a.gguf", "a"}) {
    check_near(generate(gguf.engine, story(gguf.adapter(name))), expected);
    check_near(generate(folder.engine, story(folder.adapter(name))), expected);
  }
}

TEST_CASE("a model cut in two takes adapters on both sides") {
  if (!have_shared(kLoraBase)) return;
  Lora whole(stories(), 1);
  LoadOptions options;
  options.path = stories();
  options.split = "cpu:0=1,reference=1";
  options.context = 256;
  options.max_adapters = 1;
  Engine split(Model::load(*whole.host, options));
  check_near(generate(split, story(whole.adapter("a"))), generate(whole.engine, story(whole.adapter("a"))));
}

TEST_CASE("base and adapters share a batch, and each answers as if alone") {
  if (!have_shared(kLoraBase)) return;
  // With fewer slots than adapters some wait for a slot, and slots are written again and again.
  for (const std::uint32_t slots : {2u, 1u}) {
    Lora lora(stories(), slots, "cpu", {.prefix_cache = false});
    const AdapterPtr adapters[] = {nullptr, lora.adapter("a"), lora.adapter("b")};
    std::vector<Answer> alone;
    for (const AdapterPtr& adapter : adapters)
      for (unsigned seed = 0; seed < 3; ++seed) alone.push_back(generate(lora.engine, story(adapter, seed)));
    std::vector<Pending> crowd;
    for (const AdapterPtr& adapter : adapters)
      for (unsigned seed = 0; seed < 3; ++seed) crowd.emplace_back(lora.engine, story(adapter, seed));
    for (std::size_t i = 0; i < crowd.size(); ++i) check_same_bits(crowd[i].wait(), alone[i]);
  }
}

// What the host applies: in answers with every kind of sampling, in logprobs of prompts, beside others in the batch.
TEST_CASE("an adapter of head and embedding gives what the merged model gives") {
  if (!have_shared(kLoraBase)) return;
  for (const char* device : {"cpu", "reference"}) {
    Lora base(stories(), 2, device, {}, true), merged(LoraFolder::get() / "merged-c", 0, device);
    const AdapterPtr c = base.adapter("c");
    std::vector<GenerationRequest> requests;
    for (const float temperature : {0.0f, 0.8f})
      for (const float penalty : {1.0f, 1.3f}) {
        GenerationRequest request = story();
        request.sampling.temperature = temperature;
        request.sampling.top_p = 0.9f;
        request.sampling.repetition_penalty = penalty;
        request.sampling.seed = 5;
        request.prompt_logprobs = 2;
        requests.push_back(request);
      }
    std::vector<Answer> plain, alone;
    std::vector<Pending> crowd;
    const auto with = [&](GenerationRequest request, AdapterPtr adapter) {
      request.adapter = std::move(adapter);
      return request;
    };
    for (const GenerationRequest& request : requests) {
      plain.push_back(generate(base.engine, request));
      alone.push_back(generate(base.engine, with(request, c)));
      const Answer expected = generate(merged.engine, request);
      check_near(alone.back(), expected);
      CHECK(alone.back().ids != plain.back().ids);
      REQUIRE(alone.back().prompt_logprobs.size() == request.prompt.size());
      for (std::size_t i = 1; i < request.prompt.size(); ++i) {
        const TokenLogprob &one = alone.back().prompt_logprobs[i], &other = expected.prompt_logprobs[i];
        CHECK(std::fabs(one.logprob - other.logprob) < 5e-4);
        CHECK(std::fabs(one.top[0].second - other.top[0].second) < 5e-4);
      }
    }
    for (const GenerationRequest& request : requests)
      for (const AdapterPtr& adapter : {AdapterPtr(), c, base.adapter("a")})
        crowd.emplace_back(base.engine, with(request, adapter));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      check_same_bits(crowd[3 * i].wait(), plain[i]);
      check_same_bits(crowd[3 * i + 1].wait(), alone[i]);
    }
  }
}

TEST_CASE("adapters whose requests are preempted come back to a slot") {
  if (!have_shared(kLoraBase)) return;
  Lora big(stories(), 2);
  LoadOptions options;
  options.path = stories();
  options.context = 128;
  options.cache_tokens = 192;
  options.max_adapters = 1;
  Engine tight(Model::load(*big.host, options));
  const AdapterPtr adapters[] = {nullptr, big.adapter("a"), big.adapter("b")};
  std::vector<Pending> crowd;
  for (unsigned i = 0; i < 9; ++i) crowd.emplace_back(tight, story(adapters[i % 3], i));
  for (unsigned i = 0; i < 9; ++i) check_same_bits(crowd[i].wait(), generate(big.engine, story(adapters[i % 3], i)));
  CHECK(tight.stats().preemptions > 0);
}

TEST_CASE("the prefix cache keeps adapters apart, and knows one that was loaded again") {
  if (!have_shared(kLoraBase)) return;
  Lora lora(stories(), 1);
  const auto cached = [&](AdapterPtr adapter) {
    GenerationRequest request = story(std::move(adapter));
    request.prompt = random_prompt(100, 9, 2048);
    return generate(lora.engine, request).usage.cached_tokens;
  };
  CHECK(cached(nullptr) == 0);
  CHECK(cached(nullptr) > 0);
  CHECK(cached(lora.adapter("a")) == 0);
  CHECK(cached(lora.adapter("b")) == 0);
  CHECK(cached(lora.adapter("a")) > 0);  // another object of the same contents
}

TEST_CASE("an adapter that does not fit is refused with one line") {
  if (!have_shared(kLoraBase)) return;
  Lora lora(stories(), 1), closed(stories(), 0);
  const auto refusal = [&](const std::filesystem::path& path, const Lora& at) -> std::string {
    try {
      at.engine.model().load_adapter("x", path);
    } catch (const Error& error) {
      return error.what();
    }
    return "it was taken";
  };
  const auto check = [&](const char* name, const char* expected) {
    CHECK_THAT(refusal(LoraFolder::get() / name, lora), Catch::Contains(expected));
  };
  check("bad-shape", "expected a pair for the model's [");
  check("bad-shape", "], found one for [64, 128]");
  check("bad-name", "tensor 'model.layers.9.mlp.up_proj.weight': the model ");
  check("bad-name", "has no such tensor");
  check("c",
        "changes the embedding of tokens (weight 'token_embd.weight'), for which the model was loaded without room");
  check("c", "start with --lora-embeddings");
  check("trained-head", "tensor 'lm_head.weight': was trained whole: it differs from the model's");
  check("resized", "tensor 'model.embed_tokens.weight': is there whole, of shape [2047, ");
  check("norm", "tensor 'model.norm.weight': is there whole, and only low-rank pairs can be added");
  check("merged-a.gguf", "key 'general.type' is '', expected 'adapter'");
  check("merged-a", "holds no adapter_config.json");
  check("none", "no such file or folder");
  CHECK_THAT(refusal(LoraFolder::get() / "a", closed), Catch::Contains("--max-loras"));

  LoadOptions options;
  options.path = stories();
  options.max_adapters = 1;
  options.max_adapter_rank = 4;
  const auto narrow = Model::load(*lora.host, options);
  CHECK_THROWS_WITH(narrow->load_adapter("a", LoraFolder::get() / "a"),
                    Catch::Contains("expected a rank of 4 at most, found 8; raise --max-lora-rank"));
}
