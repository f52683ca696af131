// Token ids of real models on the Vulkan device, greedy: equal to what llama.cpp (and llama2.c) gave for the same
// files.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;
using nlohmann::json;

namespace {

// Runs on from BOS and compares as many tokens as both have.
void check_story(const std::string& model, const std::string& golden) {
  if (!have_shared(model) || !have_shared(golden)) return;
  std::ifstream file(shared_dir() / golden);
  std::string line;
  std::getline(file, line);
  const auto expected = json::parse(line).get<std::vector<TokenId>>();
  const auto host = make_host();
  Engine engine(Model::load(*host, {.path = shared_dir() / model, .device = "vulkan"}));
  const TokenId bos = engine.model().tokenizer().bos().value();
  Answer answer = generate(engine, greedy({bos}, static_cast<std::uint32_t>(expected.size())));
  answer.ids.resize(std::min(answer.ids.size(), expected.size()));
  CHECK(answer.ids.size() + 1 >= expected.size());  // the golden may end in the stop token
  CHECK(answer.ids == std::vector<TokenId>(expected.begin(), expected.begin() + static_cast<long>(answer.ids.size())));
}

}  // namespace

TEST_CASE("Vulkan: tinystories-656k from GGUF and from safetensors") {
  check_story("models/tinystories-656k/tinystories-656k-f32.gguf",
              "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt");
  check_story("models/tinystories-656k", "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt");
}

TEST_CASE("Vulkan: stories260K") {
  check_story("models/stories260K/stories260K.gguf", "models/stories260K/golden_llamacpp_greedy_bos199.txt");
}

TEST_CASE("Vulkan: the demo model answers the golden chats") {
  std::ifstream file(source_dir() / "models/demo/golden.json");
  const auto host = make_host();
  Engine engine(Model::load(*host, {.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf", .device = "vulkan"}));
  for (const json& chat : json::parse(file)) {
    INFO(chat["messages"].back().dump());
    // Two answers have near ties (models/demo/README.md): another precision may rightly go another way.
    if (chat["min_gap"].get<double>() < 0.1) continue;
    auto expected = chat["answer_ids"].get<std::vector<TokenId>>();
    const auto prompt = chat["prompt_ids"].get<std::vector<TokenId>>();
    const Answer answer = generate(engine, greedy(prompt, static_cast<std::uint32_t>(expected.size())));
    if (expected.back() == 2045) expected.pop_back();
    CHECK(answer.ids == expected);
  }
}

TEST_CASE("Vulkan: a CPU-type device is listed and not chosen unless it is named") {
  const auto host = make_host();
  bool listed = false;
  for (const DeviceRecord& device : host->devices())
    listed |= device.backend == "vulkan" && device.kind == NACELLE_DEVICE_EMULATED && device.usable;
  if (!listed) return;  // a machine with a GPU
  CHECK(host->default_device().backend != "vulkan");
}
