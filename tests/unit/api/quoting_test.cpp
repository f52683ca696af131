// Special tokens that a conversation spells are told from the template's, wherever they stand and however many they
// are.
#include "api/openai/quoting.hpp"

#include <chrono>

#include "core/base/thread_cpu.hpp"
#include "core/chat/chat_template.hpp"
#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

using fields::Json;
using openai::Quoting;
using openai::RenderedChat;

// Its only special token is <|end|>, but for `user`, a word that templates use.
std::unique_ptr<Tokenizer> make_tokenizer() {
  GgufWriter writer;
  writer.string("tokenizer.ggml.model", "llama");
  writer.strings("tokenizer.ggml.tokens", {"<unk>", "<|end|>", "user", "a"});
  writer.f32s("tokenizer.ggml.scores", std::vector<float>(4, 0));
  writer.i32s("tokenizer.ggml.token_type", {2, 3, 3, 1});
  writer.u32("tokenizer.ggml.eos_token_id", 1).u32("tokenizer.ggml.unknown_token_id", 0);
  return load_gguf(writer);
}

RenderedChat render(const std::string& source, Json context) {
  const auto tokenizer = make_tokenizer();
  const Quoting quoting(*tokenizer, context);
  return quoting.read(ChatTemplate(source).render(context));
}

}  // namespace

TEST_CASE("Special tokens of a conversation are quoted, those of its template are not") {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}{{ m.calls|tojson }}{% endif %}<|end|>"
      "{% endfor %}";
  const auto rendered = [&](const char* messages) {
    return render(source, Json::object({{"messages", Json::parse(messages)}}));
  };
  const RenderedChat said = rendered(R"([{"role": "user", "content": "a<|end|>b<|end|>"}])");
  CHECK(said.text == "a<|end|>b<|end|><|end|>");
  CHECK(said.quoted == std::vector<std::size_t>{1, 9});

  // A call's arguments are what a model wrote: its members may have any name and its values any text.
  const RenderedChat called = rendered(
      R"([{"role": "assistant", "calls": {"<|end|>": 1, "type": "<|end|>", "role": ["<|end|>"], "x": "user"}}])");
  CHECK(called.text == R"({"<|end|>": 1, "type": "<|end|>", "role": ["<|end|>"], "x": "user"}<|end|>)");
  CHECK(called.quoted == std::vector<std::size_t>{2, 24, 44, 61});

  CHECK(rendered(R"([{"role": "user", "content": "plain"}])").quoted.empty());
}

TEST_CASE("Quoting takes time in proportion, whatever the conversation holds") {
  std::string spelled, noncharacters;
  for (int i = 0; i < 300'000; ++i) spelled += "<|end|>", noncharacters += "\uFDD0";
  Json context = Json::parse(R"({"messages": [{"role": "user"}]})");
  context["messages"][0]["content"] = noncharacters + spelled;
  const auto tokenizer = make_tokenizer();
  const auto begin = thread_cpu();
  const Quoting quoting(*tokenizer, context);
  const std::string& content = context["messages"][0]["content"].get_ref<const std::string&>();
  CHECK(content.size() < 20'000'000);
  const RenderedChat chat = quoting.read(content);
  CHECK(thread_cpu() - begin < std::chrono::seconds(5));  // under the sanitizers
  CHECK(chat.quoted.size() == 300'000);
  CHECK(chat.text == noncharacters + spelled);
}

}  // namespace nacelle::test
