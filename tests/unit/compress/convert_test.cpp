// The tokenizer of a Hugging Face folder as a GGUF file's keys, and what has no place there.
#include <catch2/catch.hpp>

#include "core/base/atomic_file.hpp"
#include "core/compress/huggingface_tokenizer.hpp"
#include "core/formats/gguf.hpp"
#include "core/tokenizer/tokenizer.hpp"
#include "tests/unit/formats/files.hpp"

namespace nacelle::compress {
namespace {

using test::error_of;
using test::TempFolder;

// Bytes a, b, their pair and a special token; the embedding has two rows more than that.
constexpr const char* kTokenizer = R"({"added_tokens":[{"id":3,"content":"<end>","special":true}],"normalizer":null,)"
                                   R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
                                   R"("post_processor":null,"decoder":{"type":"ByteLevel"},)"
                                   R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"<end>":3},"merges":["a b"]}})";
constexpr std::uint64_t kTokens = 6;

GgufWriter keys_of(const TempFolder& folder, const char* tokenizer) {
  folder.write("tokenizer.json", tokenizer);
  folder.write(
      "tokenizer_config.json",
      R"({"eos_token":"<end>","chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})");
  GgufWriter keys;
  add_tokenizer(folder.path(), kTokens, keys);
  return keys;
}

}  // namespace

TEST_CASE("the tokenizer goes over", "[compress]") {
  const TempFolder folder;
  GgufWriter keys = keys_of(folder, kTokenizer);
  {
    AtomicFile file(folder.path() / "t.gguf");
    file.write(0, keys.header());
    file.commit();
  }
  const GgufFile file(folder.path() / "t.gguf");
  const auto tokenizer = load_tokenizer(file);
  CHECK(tokenizer->vocab_size() == kTokens);
  CHECK(tokenizer->encode("aba<end>", {.parse_special = true}) == std::vector<TokenId>{2, 0, 3});
  CHECK(tokenizer->eos() == TokenId{3});
  CHECK(tokenizer->token_text(5) == "[PAD5]");
  CHECK(std::get<std::string_view>(*file.find("tokenizer.ggml.pre")) == "gpt-2");
  CHECK(tokenizer->chat_template() == "D");
  CHECK(tokenizer->chat_template(true) == "T");
}

TEST_CASE("a tokenizer that has no place in GGUF is named", "[compress]") {
  const TempFolder folder;
  const auto refused = [&](const char* tokenizer) { return error_of([&] { keys_of(folder, tokenizer); }); };
  CHECK(
      refused(
          R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[)"
          R"({"type":"Split","pattern":{"Regex":"x+"},"behavior":"Isolated","invert":false},)"
          R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}})")
          .find("GGUF has no name for") != std::string::npos);
  // Readers of a SentencePiece vocabulary would look for U+2581 where this has spaces.
  const std::string bytes = R"({"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0},"merges":[]})";
  CHECK(refused((bytes + "}").c_str()).find("neither on bytes nor SentencePiece's") != std::string::npos);
  const std::string marked = bytes + R"(,"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"}})";
  CHECK(refused(marked.c_str()).empty());
}

}  // namespace nacelle::compress
