// Chat templates: the demo model's golden prompts, and the interpreter's limits and error messages.
#include "core/chat/chat_template.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "tests/shared_data.hpp"

using nacelle::ChatTemplate;
using Json = nlohmann::ordered_json;

namespace {

Json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file);
  return Json::parse(file);
}

}  // namespace

TEST_CASE("the demo model's template gives its golden prompts", "[chat]") {
  const std::string folder = "models/nacelle-demo/";
  if (!nacelle::test::have_shared(folder + "golden.json")) return;
  const auto config = read_json(nacelle::test::shared_dir() / (folder + "hf/tokenizer_config.json"));
  const ChatTemplate chat(config["chat_template"].get<std::string>());
  const auto golden = read_json(nacelle::test::shared_dir() / (folder + "golden.json"));
  REQUIRE(golden.size() == 20);
  for (const auto& entry : golden) {
    Json context = {{"messages", entry["messages"]}, {"add_generation_prompt", true}};
    if (entry.contains("tools")) context["tools"] = entry["tools"];
    CHECK(chat.render(context) == entry["prompt"].get<std::string>());
  }
}
