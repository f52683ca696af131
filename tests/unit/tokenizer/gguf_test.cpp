// GGUF vocabularies made in memory: settings, streaming, and files that must be refused.
#include <catch2/catch.hpp>

#include "core/base/error.hpp"
#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

using Ids = std::vector<TokenId>;
enum Type { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// SentencePiece: <unk> <s> </s>, the bytes of U+1F642 and of 0xFF, a few pieces.
GgufWriter sentencepiece() {
  GgufWriter writer;
  writer.string("tokenizer.ggml.model", "llama");
  writer.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "<0xFF>",
                                           "▁", "a", "b", "▁a", "ab", "▁ab", "<|im_end|>"});
  writer.f32s("tokenizer.ggml.scores", {0, 0, 0, 0, 0, 0, 0, 0, -1, -2, -3, -4, -5, -6, 0});
  writer.i32s("tokenizer.ggml.token_type", {kUnknown, kControl, kControl, kByte, kByte, kByte, kByte, kByte, kNormal,
                                            kNormal, kNormal, kNormal, kNormal, kNormal, kUserDefined});
  writer.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  writer.u32("tokenizer.ggml.unknown_token_id", 0);
  return writer;
}

GgufWriter byte_level() {
  GgufWriter writer;
  writer.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "gpt-2");
  writer.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "Ġ", "Ġab", "ð", "Ł", "Ļ", "Ĥ", "<|im_end|>"});
  writer.strings("tokenizer.ggml.merges", {"a b", "Ġ ab"});
  writer.i32s("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 1, 1, 1, 1, kControl});
  writer.u32("tokenizer.ggml.eos_token_id", 9);
  return writer;
}

}  // namespace

TEST_CASE("SentencePiece: BOS, space before the text, byte fallback, unknown") {
  const auto tokenizer = load_gguf(sentencepiece());
  CHECK(tokenizer->encode("ab a") == Ids{1, 13, 11});
  CHECK(tokenizer->encode("ab", {.add_special = false}) == Ids{13});
  CHECK(tokenizer->encode("🙂", {.add_special = false}) == Ids{8, 3, 4, 5, 6});
  CHECK(tokenizer->encode("éé", {.add_special = false}) == Ids{8, 0});
  CHECK(tokenizer->encode("a</s>b", {.add_special = false}) == Ids{11, 2, 8, 10});
  CHECK(tokenizer->encode("<|im_end|>", {.add_special = false, .parse_special = false}) == Ids{14});
  CHECK(tokenizer->encode("\xFF", {.add_special = false}) == Ids{8, 0});  // U+FFFD, which is unknown here
  CHECK(tokenizer->decode(tokenizer->encode("ab a")) == "ab a");
  CHECK(tokenizer->stop_ids() == Ids{2, 14});
  CHECK(tokenizer->is_special(14));
  auto writer = sentencepiece();
  writer.boolean("tokenizer.ggml.add_bos_token", false).boolean("tokenizer.ggml.add_eos_token", true);
  writer.boolean("tokenizer.ggml.add_space_prefix", false).u32("tokenizer.ggml.eot_token_id", 9);
  const auto other = load_gguf(writer);
  CHECK(other->encode("ab a") == Ids{12, 11, 2});
  CHECK(other->decode(Ids{11, 12}) == " aab");
  CHECK(other->stop_ids() == Ids{2, 9, 14});
}

TEST_CASE("chat templates: the default, and the one for tools") {
  auto writer = byte_level();
  CHECK(load_gguf(writer)->chat_template(true).empty());
  writer.string("tokenizer.chat_template", "D");
  CHECK(load_gguf(writer)->chat_template(true) == "D");
  writer.strings("tokenizer.chat_templates", {"rag", "tool_use"});
  writer.string("tokenizer.chat_template.rag", "R").string("tokenizer.chat_template.tool_use", "T");
  CHECK(load_gguf(writer)->chat_template() == "D");
  CHECK(load_gguf(writer)->chat_template(true) == "T");
}

TEST_CASE("streaming: whole code points only, equal to decode, first space dropped once") {
  const auto tokenizer = load_gguf(sentencepiece());
  StreamDecoder stream(*tokenizer);
  CHECK(stream.push(1) == "");
  CHECK(stream.push(11) == "a");
  CHECK(stream.push(3) == "");
  CHECK(stream.push(4) == "");
  CHECK(stream.push(5) == "");
  CHECK(stream.push(6) == "🙂");
  CHECK(stream.push(11) == " a");
  CHECK(stream.push(3) == "");
  CHECK(stream.push(9) == "\uFFFDa");
  CHECK(stream.push(7) == "\uFFFD");
  CHECK(stream.push(99) == "");
  CHECK(stream.push(-1) == "");
  CHECK(stream.push(3) == "");
  CHECK(stream.flush() == "\uFFFD");
  CHECK(stream.flush() == "");
  CHECK(StreamDecoder(*tokenizer, true, false).push(11) == " a");
  CHECK(StreamDecoder(*tokenizer, false).push(1) == "<s>");
  CHECK(StreamDecoder(*tokenizer, true, true, {1}).push(1) == "<s>");
  CHECK(tokenizer->decode(Ids{8, 8, 9}) == " a");
  CHECK(tokenizer->decode(Ids{4, 3, 4, 5, 6, 3}) == "\uFFFD🙂\uFFFD");
}

TEST_CASE("byte-level BPE: bytes of a token, missing bytes, BOS by pre-tokenizer") {
  const auto tokenizer = load_gguf(byte_level());
  CHECK(tokenizer->encode("ab ab<|im_end|>") == Ids{2, 4, 9});
  CHECK(tokenizer->token_bytes(4) == " ab");
  CHECK(tokenizer->token_text(4) == "Ġab");
  CHECK(tokenizer->token_bytes(5) == "\xF0");
  CHECK(tokenizer->encode("🙂a") == Ids{5, 6, 7, 8, 0});
  CHECK(tokenizer->encode("xa") == Ids{0});  // no token for x, and no unknown token
  CHECK(tokenizer->find("ab") == 2);
  CHECK_FALSE(tokenizer->find("zz"));
}

TEST_CASE("GGUF tokenizers that must be refused") {
  const auto refusal = [](GgufWriter writer) -> std::string {
    try {
      load_gguf(writer);
    } catch (const Error& error) {
      return error.what();
    }
    return "not refused";
  };
  const auto gpt2 = [] { return GgufWriter().string("tokenizer.ggml.model", "gpt2"); };
  CHECK_THAT(refusal(GgufWriter().u32("x", 1)), Catch::Contains("tokenizer.ggml.model is missing"));
  CHECK_THAT(refusal(GgufWriter().string("tokenizer.ggml.model", "rwkv")),
             Catch::Contains("'rwkv'") && Catch::Contains("bert"));
  CHECK_THAT(refusal(gpt2()), Catch::Contains("tokenizer.ggml.tokens is missing"));
  CHECK_THAT(refusal(gpt2().u32("tokenizer.ggml.tokens", 1)), Catch::Contains("wrong type"));
  CHECK_THAT(refusal(gpt2().strings("tokenizer.ggml.tokens", {"a"})),
             Catch::Contains("tokenizer.ggml.merges is missing"));
  CHECK_THAT(refusal(gpt2().strings("tokenizer.ggml.tokens", {"a\xFF"})), Catch::Contains("not UTF-8 at index 0"));
  CHECK_THAT(refusal(byte_level().u32("tokenizer.ggml.bos_token_id", 10)),
             Catch::Contains("is 10, but there are 10 tokens"));
  const auto merges = [&](const std::vector<std::string>& lines) {
    return refusal(gpt2().strings("tokenizer.ggml.tokens", {"a", "b", "ab"}).strings("tokenizer.ggml.merges", lines));
  };
  CHECK(merges({"a b"}) == "not refused");
  CHECK_THAT(merges({"a b", "ab"}), Catch::Contains("at index 1"));
  CHECK_THAT(merges({"a c"}), Catch::Contains("vocabulary lacks at index 0"));
  CHECK_THAT(merges({""}), Catch::Contains("at index 0"));
  const auto spm = [] {
    return GgufWriter().string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"a", "b"});
  };
  CHECK_THAT(refusal(spm().f32s("tokenizer.ggml.scores", {1})), Catch::Contains("1 values for 2 tokens"));
  CHECK_THAT(refusal(spm().f32s("tokenizer.ggml.scores", {1, NAN})), Catch::Contains("NaN at index 1"));
  CHECK_THAT(refusal(GgufWriter().string("tokenizer.ggml.model", "bert").strings("tokenizer.ggml.tokens", {"a"})),
             Catch::Contains("unknown_token_id is missing"));
}

}  // namespace nacelle::test
