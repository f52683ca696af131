// The tokenizers of the small models in ../shared, from both of their file formats.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <random>

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

// Two files of one tokenizer: same tables, and same ids for texts of words, marks, scripts and special tokens.
void check_equal(const Tokenizer& a, const Tokenizer& b) {
  REQUIRE(a.vocab_size() == b.vocab_size());
  for (TokenId id = 0; id < static_cast<TokenId>(a.vocab_size()); ++id) {
    INFO(id);
    CHECK(a.token_text(id) == b.token_text(id));
    CHECK(a.token_bytes(id) == b.token_bytes(id));
    CHECK(a.is_special(id) == b.is_special(id));
  }
  std::mt19937 random(7);
  const char* parts[] = {"Once upon", " a time", "\n",  "  ",         "don't",       "é",    "日本",
                         "🙂",      ".",       "123", "<|im_end|>", "<tool_call>", "Lily", "\t"};
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (auto n = random() % 12; n > 0; --n) text += parts[random() % std::size(parts)];
    INFO(text);
    CHECK(a.encode(text) == b.encode(text));
    CHECK(a.encode(text, {.parse_special = false}) == b.encode(text, {.parse_special = false}));
  }
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
  const auto hf = load_tokenizer(folder / "hf");
  for (const Tokenizer* tokenizer : {gguf.get(), hf.get()}) {
    CHECK(tokenizer->vocab_size() == 2048);
    CHECK(tokenizer->bos() == 2043);
    CHECK(tokenizer->eos() == 2045);
    CHECK(tokenizer->pad() == 2043);
    CHECK(tokenizer->stop_ids() == Ids{2043, 2045});
    CHECK(tokenizer->is_special(2044));
    CHECK_FALSE(tokenizer->is_special(2046));
    CHECK(tokenizer->bos_text() == "<|endoftext|>");
    CHECK(tokenizer->eos_text() == "<|im_end|>");
    CHECK(tokenizer->chat_template().starts_with("{%- set sys"));
  }
  CHECK(gguf->chat_template() == hf->chat_template());
  check_equal(*gguf, *hf);
  for (const auto& golden : goldens) {
    CHECK(hf->encode(golden["prompt"].get<std::string>()) == golden["prompt_ids"].get<Ids>());
  }
}

TEST_CASE("tinystories and stories260K: golden texts") {
  if (!have_shared("models/tinystories-656k/tinystories-656k-f32.gguf")) return;
  const auto stories = shared_dir() / "models";
  const auto large = load_tokenizer(GgufFile(stories / "tinystories-656k/tinystories-656k-f32.gguf"));
  check_golden(*large, "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt", false);
  CHECK(large->encode("") == Ids{1});
  CHECK(large->stop_ids() == Ids{2});
  const auto hf = load_tokenizer(stories / "tinystories-656k");
  check_golden(*hf, "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt", false);
  CHECK(hf->stop_ids() == Ids{2});
  check_equal(*large, *hf);
  const auto small = load_tokenizer(GgufFile(stories / "stories260K/stories260K.gguf"));
  check_golden(*small, "models/stories260K/golden_llamacpp_greedy_bos199.txt", true);
}

}  // namespace nacelle::test
