// Token ids of real models, greedy, on every backend: equal to what llama.cpp gave for the same files.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;
using nlohmann::json;

namespace {

const std::vector<std::string> kDevices = {"reference", "cpu"};

json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

// The first line of a .txt golden: the generated ids.
std::vector<TokenId> read_ids(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return json::parse(line).get<std::vector<TokenId>>();
}

// Runs on from BOS and compares as many tokens as both have.
void check_story(const std::string& model, const std::string& golden) {
  if (!have_shared(model) || !have_shared(golden)) return;
  const auto expected = read_ids(shared_dir() / golden);
  const auto host = make_host();
  for (const std::string& device : kDevices) {
    INFO(model << " on " << device);
    Engine engine(Model::load(*host, {.path = shared_dir() / model, .device = device}));
    const TokenId bos = engine.model().tokenizer().bos().value();
    Answer answer = generate(engine, greedy({bos}, static_cast<std::uint32_t>(expected.size())));
    answer.ids.resize(std::min(answer.ids.size(), expected.size()));
    CHECK(answer.ids.size() + 1 >= expected.size());  // the golden may end in the stop token
    CHECK(answer.ids ==
          std::vector<TokenId>(expected.begin(), expected.begin() + static_cast<long>(answer.ids.size())));
    CHECK(answer.text.starts_with("Once upon a time"));
  }
}

}  // namespace

TEST_CASE("tinystories-656k from GGUF and from safetensors") {
  check_story("models/tinystories-656k/tinystories-656k-f32.gguf",
              "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt");
  check_story("models/tinystories-656k", "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt");
}

TEST_CASE("stories260K") {
  check_story("models/stories260K/stories260K.gguf", "models/stories260K/golden_llamacpp_greedy_bos199.txt");
}

TEST_CASE("the demo model answers the golden chats") {
  const json chats = read_json(source_dir() / "models/demo/golden.json");
  const auto host = make_host();
  for (const std::string& device : kDevices) {
    Engine engine(Model::load(*host, {.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf", .device = device}));
    const Model& model = engine.model();
    for (const json& chat : chats) {
      INFO(device << ": " << chat["messages"].back().dump());
      nlohmann::ordered_json context = {{"messages", chat["messages"]}, {"add_generation_prompt", true}};
      if (chat.contains("tools") && !chat["tools"].is_null()) context["tools"] = chat["tools"];
      if (!chat.contains("tools") || chat["tools"].is_null())
        CHECK(model.chat_template()->render(context) == chat["prompt"]);
      const auto prompt = model.tokenizer().encode(chat["prompt"].get<std::string>(), {.add_special = false});
      CHECK(prompt == chat["prompt_ids"].get<std::vector<TokenId>>());

      auto expected = chat["answer_ids"].get<std::vector<TokenId>>();
      const Answer answer = generate(engine, greedy(prompt, static_cast<std::uint32_t>(expected.size())));
      if (expected.back() == 2045) expected.pop_back();
      // Two answers have near ties (models/demo/README.md): another precision may rightly go another way.
      if (chat["min_gap"].get<double>() < 0.1) continue;
      CHECK(answer.ids == expected);
      CHECK(answer.text == chat["text"].get<std::string>());
    }
  }
}
