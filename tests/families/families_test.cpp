// Every family's small random models, written by make_models.py, from both file formats and on both backends: logits as
// its NumPy forward pass gives them, and the models that must be refused, by the very line.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/compress/eval.hpp"
#include "core/engine/memory_plan.hpp"
#include "core/engine/model_graph.hpp"
#include "core/formats/bitsandbytes.hpp"
#include "core/plugin_host/model_config.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/tuning/kept_files.hpp"
#include "tests/unit/architectures/plugin.hpp"
#include "tests/unit/base/captured.hpp"
#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;
namespace fs = std::filesystem;

namespace {

std::string read_file(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<fs::path> folders_of(const fs::path& folder) {
  std::vector<fs::path> found;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

LoadOptions options_for(const fs::path& path, const std::string& device) {
  LoadOptions options;
  options.path = path;
  options.device = device;
  options.need_tokenizer = false;
  options.max_sequences = 4;
  options.max_batch_tokens = 64;
  options.key_type = options.value_type = NACELLE_TYPE_F32;
  return options;
}

// The largest difference, relative to the largest logit.
double difference(const std::vector<float>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(got[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return std::isfinite(worst) ? worst / largest : INFINITY;
}

// The largest difference of a decoder's logits behind each prompt. `exact`: from what a packed checkpoint says before
// the host rounds it.
double decoder_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden, bool exact = false) {
  const auto logits = last_logits(*model, golden["prompts"].get<std::vector<std::vector<TokenId>>>(), 16);
  const auto& expected = golden[exact ? "exact_logits" : "logits"];
  double worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, difference(logits[i], expected[i]));
  return worst;
}

// The same of the prompts with an adapter, in one batch with the prompts without.
double adapter_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden,
                          const AdapterPtr& adapter) {
  auto prompts = golden["prompts"].get<std::vector<std::vector<TokenId>>>();
  const std::size_t count = prompts.size();
  for (std::size_t i = 0; i < count; ++i) prompts.push_back(std::vector<TokenId>(prompts[i]));
  std::vector<AdapterPtr> adapters(2 * count);
  std::fill(adapters.begin() + static_cast<std::ptrdiff_t>(count), adapters.end(), adapter);
  const auto logits = last_logits(*model, prompts, 16, adapters);
  double worst = 0;
  for (std::size_t i = 0; i < count; ++i) {
    worst = std::max(worst, difference(logits[i], golden["logits"][i]));
    worst = std::max(worst, difference(logits[count + i], golden["lora_logits"][i]));
    REQUIRE(difference(logits[count + i], golden["logits"][i]) > 0.05);  // the adapter changes something
  }
  return worst;
}

// Of the longest prompt as one window, relative.
double perplexity_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden) {
  TextWindows text;
  text.tokens = golden["prompts"].back().get<std::vector<TokenId>>();
  text.window = static_cast<std::uint32_t>(text.tokens.size());
  const double expected = golden["perplexity"];
  return std::abs(evaluate(*model, nullptr, text).perplexity().value / expected - 1);
}

// The largest difference of the log-probabilities of the longest prompt's tokens, and of the likeliest ones in their
// places, relative to the largest logit.
double prompt_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden) {
  GenerationRequest request = greedy(golden["prompts"].back().get<std::vector<TokenId>>(), 0);
  request.prompt_only = true;
  request.prompt_logprobs = 1;
  Engine engine(model);
  const Answer answer = generate(engine, request);
  REQUIRE(answer.prompt_logprobs.size() == request.prompt.size());
  double worst = 0, largest = 0;
  for (const double logit : golden["logits"].back()) largest = std::max(largest, std::abs(logit));
  for (std::size_t i = 1; i < answer.prompt_logprobs.size(); ++i) {
    const TokenLogprob& token = answer.prompt_logprobs[i];
    const double own = golden["prompt_logprobs"][i - 1], best = golden["likeliest"][i - 1];
    worst = std::max({worst, std::abs(token.logprob - own), std::abs(token.top.at(0).second - best)});
  }
  return worst / largest;
}

// Of an encoder's vectors, or a ranker's scores, all texts at once.
double encoder_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden) {
  Engine engine(model);
  std::vector<std::unique_ptr<Pending>> texts;
  for (std::size_t i = 0; i < golden["prompts"].size(); ++i) {
    GenerationRequest request;
    request.prompt = golden["prompts"][i].get<std::vector<TokenId>>();
    request.embed = true;
    if (golden["encoder"] == "rank") request.second_text = golden["seconds"][i];
    texts.push_back(std::make_unique<Pending>(engine, std::move(request)));
  }
  double worst = 0;
  for (std::size_t i = 0; i < texts.size(); ++i)
    worst = std::max(worst, difference(texts[i]->wait().embedding, golden["vectors"][i]));
  return worst;
}

// With the emulated GPU, which is built for tests and lies apart.
std::unique_ptr<PluginHost> host_of_all() {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS};
  if (fs::exists(NACELLE_EMULATED_PLUGINS)) options.folders.emplace_back(NACELLE_EMULATED_PLUGINS);
  options.threads = 2;
  return std::make_unique<PluginHost>(options);
}

// What a device that rounds activations may be off by: the CPU is one. Tensor cores take them as f16, 2^-11 off each; a
// softmax turns what a score is off by into what its weight is off by, relatively. Scores here are 10 to 15 at most:
// the NumPy forward passes with that rounding alone are 0.6e-3 to 2e-3 off (with scores of 80 they were 6.4e-3).
double tolerance(const nlohmann::json& golden, const std::string& device) {
  const bool rounds = device.starts_with("emulated_gpu");
  return golden["tolerance"].value(rounds ? "cpu" : device, device == "emulated_gpu:0" ? 5e-3 : 1e-4);
}

// The devices to try: NACELLE_FAMILIES_DEVICES, or those that every machine has.
std::vector<std::string> devices() {
  const char* text = std::getenv("NACELLE_FAMILIES_DEVICES");
  std::istringstream list(text ? text : "reference cpu");
  std::vector<std::string> all;
  for (std::string name; list >> name;) all.push_back(name);
  return all;
}

}  // namespace

TEST_CASE("every family gives what its NumPy forward pass gives, from both file formats") {
  const auto families = folders_of(NACELLE_FAMILIES);
  REQUIRE_FALSE(families.empty());
  const auto host = host_of_all();
  for (const fs::path& family : families) {
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    for (const char* file : {"model.gguf", "hf"}) {
      if (!fs::exists(family / file)) continue;
      for (const std::string& device : devices()) {
        INFO(family.filename().string() << " from " << file << " on " << device);
        try {
          LoadOptions options = options_for(family / file, device);
          options.context = golden["context"];
          const auto model = Model::load(*host, options);
          const double worst =
              golden.contains("encoder") ? encoder_difference(model, golden) : decoder_difference(model, golden);
          CHECK(worst <= tolerance(golden, device));
          if (golden.contains("perplexity"))  // a loss is off by some logits' worth
            CHECK(perplexity_difference(model, golden) <= 10 * tolerance(golden, device));
          if (golden.contains("prompt_logprobs"))
            CHECK(prompt_difference(model, golden) <= 2 * tolerance(golden, device));
          const bool report = std::getenv("NACELLE_FAMILIES_REPORT");
          if (report) std::printf("%-20s %-10s %-9s %.1e\n", family.filename().c_str(), file, device.c_str(), worst);
          if (golden.contains("exact_logits") && device == "reference") {
            const double rounding = decoder_difference(model, golden, true);
            CHECK(rounding <= golden["rounding"].get<double>());
            if (report) std::printf("%-20s its rounding costs %.1e\n", family.filename().c_str(), rounding);
          }
        } catch (const Error& failure) {
          FAIL_CHECK(failure.what());
        }
      }
    }
  }
}

// A step has room for `max_sequences` + 16 hidden rows: the longest prompt is read in one piece, or in many.
TEST_CASE("the mean of a decoder's hidden rows is what NumPy gives, whatever the chunks") {
  const auto host = host_of_all();
  for (const fs::path& family : folders_of(NACELLE_FAMILIES)) {
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    if (!golden.contains("hidden_means")) continue;
    for (const std::string& device : devices()) {
      INFO(family.filename().string() << " on " << device);
      std::vector<std::vector<float>> vectors[2];
      for (const bool whole : {true, false}) {
        LoadOptions options = options_for(family / "hf", device);
        options.context = golden["context"];
        options.max_sequences = whole ? 32 : 1;
        if (!whole) options.max_batch_tokens = 7;
        Engine engine(Model::load(*host, options));
        for (std::size_t i = 0; i < golden["prompts"].size(); ++i) {
          GenerationRequest request;
          request.prompt = golden["prompts"][i].get<std::vector<TokenId>>();
          request.embed = request.mean = true;
          vectors[whole].push_back(generate(engine, request).embedding);
          CHECK(difference(vectors[whole].back(), golden["hidden_means"][i]) <= tolerance(golden, device));
        }
      }
      CHECK(vectors[0] == vectors[1]);
    }
  }
}

// One adapter in both formats, on the model in both: half of the batch has it, the other half has none.
TEST_CASE("every family takes adapters in either file format, and gives what the merged weights give") {
  const auto host = host_of_all();
  for (const fs::path& family : folders_of(NACELLE_FAMILIES)) {
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    if (golden.contains("encoder")) continue;
    for (const char* file : {"model.gguf", "hf"}) {
      if (!fs::exists(family / file)) continue;
      for (const std::string& device : devices()) {
        LoadOptions options = options_for(family / file, device);
        options.context = golden["context"];
        options.max_adapters = 1;
        options.adapter_embeddings = options.adapter_experts = true;
        options.max_sequences = 8;
        try {
          const auto model = Model::load(*host, options);
          for (const char* adapter : {"lora", "lora.gguf", "lora-module", "lora-module-old"}) {
            if (!fs::exists(family / adapter)) continue;
            INFO(family.filename().string() << " from " << file << " with " << adapter << " on " << device);
            const std::string refused = golden.value("refused_adapter", "");
            if (!refused.empty() && file == std::string("model.gguf") && !std::string(adapter).ends_with(".gguf")) {
              CHECK_THROWS_WITH(model->load_adapter("x", family / adapter), Catch::Contains(refused));
              continue;
            }
            const double worst = adapter_difference(model, golden, model->load_adapter("x", family / adapter));
            CHECK(worst <= tolerance(golden, device));
            if (std::getenv("NACELLE_FAMILIES_REPORT"))
              std::printf("%-20s %-10s %-9s %-9s %.1e\n", family.filename().c_str(), file, adapter, device.c_str(),
                          worst);
          }
        } catch (const Error& failure) {
          FAIL_CHECK(failure.what());
        }
      }
    }
  }
}

// Rows with one adapter, with another and with none in one step, in chunks of several sizes.
TEST_CASE("an adapter of experts gives the same bits whatever else is in the batch") {
  const auto host = host_of_all();
  for (const char* name : {"mixtral", "qwen3-moe", "gpt-oss", "deepseek-v3", "llama4-chunks"}) {
    const fs::path family = fs::path(NACELLE_FAMILIES) / name;
    REQUIRE(fs::exists(family));
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    auto prompts = golden["prompts"].get<std::vector<std::vector<TokenId>>>();
    for (std::size_t i = 0; i < 3; ++i) prompts.push_back({prompts[i].rbegin(), prompts[i].rend()});
    for (const std::string& device : devices()) {
      INFO(name << " on " << device);
      LoadOptions options = options_for(family / "hf", device);
      options.context = golden["context"];
      options.max_adapters = 2;
      options.adapter_embeddings = options.adapter_experts = true;
      options.max_sequences = 8;
      const auto model = Model::load(*host, options);
      const AdapterPtr x = model->load_adapter("x", family / "lora"),
                       y = model->load_adapter("y", family / "lora-other");
      const std::vector<AdapterPtr> mixed = {x, y, nullptr, y, nullptr, x};
      std::vector<std::vector<float>> alone;
      for (std::size_t i = 0; i < prompts.size(); ++i)
        alone.push_back(last_logits(*model, {prompts[i]}, 64, {mixed[i]}).at(0));
      for (const std::uint32_t chunk : {1u, 7u, 64u}) CHECK(last_logits(*model, prompts, chunk, mixed) == alone);
      CHECK(last_logits(*model, {prompts[5]}, 64, {y}).at(0) != alone[5]);
      CHECK(last_logits(*model, {prompts[5]}, 64).at(0) != alone[5]);
    }
  }
}

// A cache that keeps no values, whose keys are one latent vector a token; states beside it; chunks, whose blocks are
// given back; and queries that grow with their position.
TEST_CASE("latent vectors, states and chunks are shared, computed anew and cut over devices, and no id changes") {
  const auto host = host_of_all();
  for (const char* name : {"deepseek-v2-lite", "deepseek-v3", "lfm2-moe", "qwen3-next", "qwen3.5", "kimi-linear",
                           "granite-hybrid", "nemotron-h", "falcon-h1", "jamba", "llama4-chunks", "ministral3"}) {
    INFO(name);
    const fs::path family = fs::path(NACELLE_FAMILIES) / name;
    REQUIRE(fs::exists(family));
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    auto prompts = golden["prompts"].get<std::vector<std::vector<TokenId>>>();
    for (std::size_t i = 0; i < 3; ++i) prompts.push_back({prompts[i].rbegin(), prompts[i].rend()});
    const auto ask = [&](Engine& engine, std::size_t i) {
      GenerationRequest request = greedy(prompts[i], 40);
      request.ignore_eos = true;
      return Pending(engine, std::move(request));
    };
    LoadOptions options = options_for(family / "model.gguf", "cpu");
    options.context = golden["context"];
    std::vector<std::vector<TokenId>> alone;
    {
      Engine engine(Model::load(*host, options));
      for (std::size_t i = 0; i < prompts.size(); ++i) alone.push_back(ask(engine, i).wait().ids);
      const Answer again = ask(engine, 2).wait();
      CHECK(again.usage.cached_tokens > 0);
      CHECK(again.ids == alone[2]);
    }
    options.cache_tokens = 128;
    for (const char* split : {"", "cpu:0=1,reference:0", "reference:0=2,cpu:0"}) {
      INFO("split " << split);
      options.split = split;
      if (*split) options.device.clear();
      Engine engine(Model::load(*host, options));
      std::vector<std::unique_ptr<Pending>> answers;
      for (std::size_t i = 0; i < prompts.size(); ++i) answers.push_back(std::make_unique<Pending>(ask(engine, i)));
      for (std::size_t i = 0; i < prompts.size(); ++i) CHECK(answers[i]->wait().ids == alone[i]);
      CHECK(engine.stats().preemptions > 0);
    }
  }
}

// A table of experts' pairs is large: nobody has it without asking.
TEST_CASE("experts take adapters only where the model was loaded with room for them") {
  const auto host = host_of_all();
  const fs::path family = fs::path(NACELLE_FAMILIES) / "mixtral";
  const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
  LoadOptions options = options_for(family / "hf", "cpu");
  options.context = golden["context"];
  options.max_adapters = 2;
  options.adapter_embeddings = true;
  const auto without = Model::load(*host, options);
  CHECK_THROWS_WITH(
      without->load_adapter("x", family / "lora.gguf"),
      Catch::Contains("changes a mixture's experts (weight 'blk.0.ffn_gate_exps.weight'), for which the model "
                      "was loaded without room: start with --lora-experts"));
  options.adapter_experts = true;
  options.max_adapter_rank = 3;
  const auto with = Model::load(*host, options);
  CHECK(with->load_adapter("x", family / "lora")->rank == 3);
  CHECK_THROWS_WITH(with->load_adapter("x", family / "lora-module"),  // gate and up share 6
                    Catch::Contains("expected a rank of 3 at most, found 6; raise --max-lora-rank"));
  const std::string half = ": tensor 'base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight': ";
  const fs::path other = fs::path(NACELLE_FAMILIES) / "qwen3-moe";
  CHECK_THROWS_WITH(with->load_adapter("x", other / "lora-module-gate-up"),
                    Catch::Contains(half + "its pair, of widths 64 and 64, fits no weight of experts in the model "));
  options.path = other / "hf";  // whose gate and up are square together
  CHECK_THROWS_WITH(Model::load(*host, options)->load_adapter("x", other / "lora-module-gate-up"),
                    Catch::Contains(half + "of [64, ..] and [64, ..]: can be read in two ways; expected pairs of the "
                                           "experts' other matrices"));
  options.path = family / "hf";
  const auto needs = [&](std::uint32_t rank, bool experts) {
    options.max_adapter_rank = rank;
    options.adapter_experts = experts;
    const auto files = ModelFiles::open(options.path);
    const ModelGraph graph = read_graph(*host, *files, true, true, experts);
    return estimate_need(graph.graph, device_options(options)).adapters;
  };
  // 3 layers of 8 experts: gate and up [96, 64], down [64, 96], in f32, for two slots.
  CHECK(needs(5, true) - needs(5, false) == 3 * 8 * 3 * (96 + 64) * 5 * 4 * 2);
}

TEST_CASE("no plugin passes over a tensor of a GGUF file, and one that none knows is named") {
  const auto host = host_of_all();
  const auto unread = [&](const fs::path& file) { return read_graph(*host, *ModelFiles::open(file), false).unread; };
  for (const fs::path& family : folders_of(NACELLE_FAMILIES)) {
    if (!fs::exists(family / "model.gguf")) continue;
    INFO(family.filename().string());
    CHECK(unread(family / "model.gguf").empty());
  }
  std::string bytes = read_file(fs::path(NACELLE_FAMILIES) / "llama-bias" / "model.gguf");
  const std::string known = "blk.1.attn_q.bias", unknown = "blk.1.attn_q.bied";
  REQUIRE(bytes.find(known) != std::string::npos);
  bytes.replace(bytes.find(known), known.size(), unknown);
  const nacelle::test::TempFolder folder;
  const fs::path broken = folder.write("model.gguf", bytes);
  CHECK(unread(broken) == std::vector<std::string>{unknown});

  const ModelGraph model = read_graph(*host, *ModelFiles::open(broken), false);
  const std::string told = captured([&] { warn_of_unread("name", model); });
  CHECK(told.find("name: the file has tensors that the architecture plugin 'llama' does not read: " + unknown + ";") !=
        std::string::npos);
}

TEST_CASE("the products of a mixture's experts are measured like all others, and no logit changes") {
  const fs::path folder = fs::path(NACELLE_FAMILIES) / "mixtral";
  REQUIRE(fs::exists(folder / "hf"));
  const auto prompts =
      nlohmann::json::parse(read_file(folder / "golden.json"))["prompts"].get<std::vector<std::vector<TokenId>>>();
  const Cache cache;
  const auto host = host_over(cache.folder, "");
  LoadOptions options = options_for(folder / "hf", "cpu");
  const auto before = last_logits(*Model::load(*host, options), prompts, 16);
  options.tune_budget = std::chrono::seconds(100);  // rounds end the measuring of so small a model, not time
  const auto tuned = Model::load(*host, options);
  std::set<std::string> patterns;
  tuned->visit_kernels([&](const nacelle_kernel_info& info) {
    if (sdk::view(info.op) != "moe_matmul" || info.state != NACELLE_KERNEL_SELECTED) return;
    CHECK(info.chosen_by == NACELLE_CHOSEN_BY_MEASUREMENT);
    CHECK(info.measured_seconds > 0);
    CHECK(info.operations > 0);
    patterns.emplace(sdk::view(info.pattern));
  });
  CHECK(patterns == std::set<std::string>{"f32 E=8/2 N=192 K=64", "f32 E=8/2 N=64 K=96"});
  CHECK(last_logits(*tuned, prompts, 16) == before);
}

TEST_CASE("llama.cpp gives the same logits and the same greedy ids for the same files", "[.llama_cpp]") {
  const auto host = make_host();
  std::vector<fs::path> families = folders_of(NACELLE_FAMILIES);
  // What conversion_test.cpp made of the safetensors.
  for (fs::path& family : folders_of(fs::path(NACELLE_FAMILIES).parent_path() / "converted"))
    families.push_back(std::move(family));
  for (const fs::path& family : families) {
    if (!fs::exists(family / "llama_cpp.json")) continue;
    const auto theirs = nlohmann::json::parse(read_file(family / "llama_cpp.json"));
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    const auto tokens = theirs["tokens"].get<std::vector<TokenId>>();
    const auto expected = theirs["logits"].get<std::vector<std::vector<double>>>();
    std::vector<std::vector<TokenId>> prefixes;
    for (std::size_t i = 1; i <= tokens.size(); ++i) prefixes.emplace_back(tokens.begin(), tokens.begin() + i);
    LoadOptions options = options_for(family / "model.gguf", "reference");
    options.context = golden["context"];
    options.max_sequences = 64;
    options.max_batch_tokens = 128;
    options.cache_tokens = 8192;
    const auto model = Model::load(*host, options);
    const auto logits = last_logits(*model, prefixes, 128);
    double worst = 0;
    for (std::size_t i = 0; i < prefixes.size(); ++i) worst = std::max(worst, difference(logits[i], expected[i]));
    const auto ids = theirs["greedy"]["ids"].get<std::vector<TokenId>>();
    const std::set<TokenId> distinct(ids.begin(), ids.end());
    const double lead = theirs["greedy"]["lead"];
    const std::string name = (family.parent_path().filename() / family.filename()).string();
    INFO(name);
    CHECK(worst <= golden["llama_cpp_tolerance"].get<double>());
    const bool decides = distinct.size() >= 20 && lead > 1e-2;
    if (decides) {
      Engine engine(model);
      GenerationRequest request = greedy({tokens.begin(), tokens.begin() + 9}, static_cast<std::uint32_t>(ids.size()));
      request.ignore_eos = true;
      CHECK(generate(engine, request).ids == ids);
    }
    std::printf("%-30s logits %.1e, %s%zu distinct greedy ids, lead %.1e\n", name.c_str(), worst,
                decides ? "equal " : "not compared: ", distinct.size(), lead);
  }
}

// build() checks that nacelle-conformance requires of every backend what the graphs hold.
TEST_CASE("every family's operations are required of every backend") {
  const auto host = make_host();
  for (const fs::path& family : folders_of(NACELLE_FAMILIES))
    for (const char* file : {"model.gguf", "hf"}) {
      if (!fs::exists(family / file)) continue;
      INFO(family.filename().string() << " from " << file);
      const auto files = ModelFiles::open(family / file);
      const ModelConfigAdapter config(*files);
      int matches = 0;
      for (const PluginRecord& plugin : host->plugins()) {
        if (!plugin.architecture || plugin.architecture->match(config.table()) != NACELLE_OK) continue;
        ++matches;
        const auto state = [&](std::string_view name) { return four_bit_state(*files, name); };
        CHECK(build(*plugin.architecture, *config.table(), state).error == "");
      }
      CHECK(matches == 1);
    }
}

TEST_CASE("what a family does not know is refused in one line") {
  const auto host = make_host();
  for (const fs::path& family : folders_of(NACELLE_FAMILIES))
    for (const fs::path& bad : folders_of(family / "refused")) {
      const fs::path path = fs::exists(bad / "hf") ? bad / "hf" : bad / "model.gguf";
      std::string error = "loaded";
      try {
        Model::load(*host, options_for(path, "reference"));
      } catch (const Error& failure) {
        error = failure.what();
      }
      INFO(path.string());
      CHECK_THAT(error, Catch::Contains(": " + read_file(bad / "error.txt")));
    }
}
