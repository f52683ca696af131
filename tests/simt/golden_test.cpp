// Whole models on the emulated GPU, through host and engine: the ids that llama.cpp gave for the same files, on a
// device with tensor cores and on one without.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kTokens = 8;  // fibers are slow there
#else
constexpr std::size_t kTokens = 60;
#endif

std::unique_ptr<PluginHost> emulated_host(std::map<std::string, std::string> config = {}) {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS, NACELLE_EMULATED_PLUGINS};
  options.threads = 1;
  for (auto& [key, value] : config) options.config["backend.emulated_gpu." + key] = value;
  return std::make_unique<PluginHost>(options);
}

std::vector<TokenId> read_ids(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  auto ids = nlohmann::json::parse(line).get<std::vector<TokenId>>();
  ids.resize(std::min(ids.size(), kTokens));
  return ids;
}

std::vector<TokenId> run_on(const std::string& device, const std::filesystem::path& model, std::vector<TokenId> prompt,
                            std::size_t count) {
  const auto host = emulated_host();
  Engine engine(Model::load(*host, {.path = model, .device = device, .context = 256}));
  if (prompt.empty()) prompt = {engine.model().tokenizer().bos().value()};
  const Answer answer = generate(engine, greedy(prompt, static_cast<std::uint32_t>(count)));
  CHECK(answer.error.empty());
  CHECK(engine.stats().submits_per_step == 1);
  CHECK(engine.stats().allocs_per_step == 0);
  return answer.ids;
}

}  // namespace

TEST_CASE("stories260K on an emulated GPU: golden ids") {
  const std::string model = "models/stories260K/stories260K.gguf";
  const std::string golden = "models/stories260K/golden_llamacpp_greedy_bos199.txt";
  if (!have_shared(model) || !have_shared(golden)) return;
  const auto expected = read_ids(shared_dir() / golden);
  for (const char* device : {"emulated_gpu:0", "emulated_gpu:1"}) {
    INFO(device);
    CHECK(run_on(device, shared_dir() / model, {}, expected.size()) == expected);
  }
}

TEST_CASE("the demo model in Q8_0 on an emulated GPU: a golden answer") {
  std::ifstream file(source_dir() / "models/demo/golden.json");
  for (const nlohmann::json& chat : nlohmann::json::parse(file)) {
    if (chat["min_gap"].get<double>() < 0.1) continue;
    auto expected = chat["answer_ids"].get<std::vector<TokenId>>();
    if (expected.back() == 2045) expected.pop_back();
    expected.resize(std::min<std::size_t>(expected.size(), kTokens / 8));
    const auto ids = run_on("emulated_gpu:0", source_dir() / "models/demo/nacelle-demo-q8_0.gguf",
                            chat["prompt_ids"].get<std::vector<TokenId>>(), expected.size());
    CHECK(ids == expected);
    break;
  }
}
