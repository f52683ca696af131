// The tokenizers of the small models in ../shared, from both of their file formats.
#include <nlohmann/json.hpp>

#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

using Ids = std::vector<TokenId>;

// Golden files: the first line holds the ids, the rest is the text.
void check_golden(const Tokenizer& tokenizer, const std::string& file, bool skip_special) {
  const std::string content = read_text(shared_dir() / file);
  const std::size_t line = content.find('\n');
  const auto ids = nlohmann::json::parse(content.substr(0, line)).get<Ids>();
  std::string text = content.substr(line + 1);
  if (text.ends_with('\n')) text.pop_back();
  CHECK(tokenizer.decode(ids, skip_special) == text);
}

}  // namespace

TEST_CASE("demo: golden prompts encode and decode, from GGUF and from tokenizer.json") {
  if (!have_shared("models/nacelle-demo/golden.json")) return;
  const auto folder = shared_dir() / "models/nacelle-demo";
  const auto gguf = load_tokenizer(GgufFile(folder / "nacelle-demo-q8_0.gguf"));
  const auto goldens = nlohmann::json::parse(read_text(folder / "golden.json"));
  REQUIRE(goldens.size() == 20);
  for (const auto& golden : goldens) {
    const auto prompt = golden["prompt"].get<std::string>();
    const auto answer = golden["answer_ids"].get<Ids>();
    CHECK(gguf->encode(prompt) == golden["prompt_ids"].get<Ids>());
    CHECK(gguf->decode(golden["prompt_ids"].get<Ids>(), false) == prompt);
    CHECK(gguf->decode(answer) == golden["text"].get<std::string>());
  }
  CHECK(gguf->vocab_size() == 2048);
  CHECK(gguf->bos() == 2043);
  CHECK(gguf->eos() == 2045);
  CHECK(gguf->stop_ids() == Ids{2043, 2045});
  CHECK(gguf->is_special(2044));
  CHECK_FALSE(gguf->is_special(2046));
  CHECK(gguf->eos_text() == "<|im_end|>");
  CHECK(gguf->chat_template().starts_with("{%- set sys"));
}

TEST_CASE("tinystories and stories260K: golden texts") {
  if (!have_shared("models/tinystories-656k/tinystories-656k-f32.gguf")) return;
  const auto stories = shared_dir() / "models";
  const auto large = load_tokenizer(GgufFile(stories / "tinystories-656k/tinystories-656k-f32.gguf"));
  check_golden(*large, "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt", false);
  CHECK(large->encode("") == Ids{1});
  const auto small = load_tokenizer(GgufFile(stories / "stories260K/stories260K.gguf"));
  check_golden(*small, "models/stories260K/golden_llamacpp_greedy_bos199.txt", true);
}

}  // namespace nacelle::test
