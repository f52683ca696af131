// Log-probabilities in an answer: an echoed prompt's and its completion's in OpenAI's lists, a prompt's in vLLM's.
#include "api/openai/logprobs.hpp"

#include <catch2/catch.hpp>

#include "api/openai/shapes.hpp"
#include "tests/unit/tokenizer/support.hpp"

using namespace nacelle;
using namespace nacelle::openai;
using Kind = chat::AnswerEvent::Kind;

namespace {

enum Id : TokenId { kBos = 1, kByte0, kByte1, kByte2, kA, kSpaceA, kB, kOtherB, kEnd };

// A SentencePiece vocabulary: a text begins with a token that it does not show, and with a space that it may lack.
std::unique_ptr<Tokenizer> make_tokenizer() {
  test::GgufWriter writer;
  writer.string("tokenizer.ggml.model", "llama");
  writer.strings("tokenizer.ggml.tokens",
                 {"<unk>", "<s>", "<0xE2>", "<0x82>", "<0xAC>", "a", "▁a", "b", "<0x62>", "</s>"});
  writer.f32s("tokenizer.ggml.scores", std::vector<float>(10, 0));
  writer.i32s("tokenizer.ggml.token_type", {2, 3, 6, 6, 6, 1, 1, 1, 6, 3});
  writer.u32("tokenizer.ggml.bos_token_id", kBos).u32("tokenizer.ggml.eos_token_id", kEnd);
  writer.u32("tokenizer.ggml.unknown_token_id", 0);
  return test::load_gguf(writer);
}

// As the engine gives them: the first has no number.
std::vector<TokenLogprob> prompt_of(std::initializer_list<TokenId> ids) {
  std::vector<TokenLogprob> prompt;
  for (const TokenId id : ids) prompt.push_back({id, -1.5f, {{kA, -0.5f}, {kB, -1.25f}, {kOtherB, -2.0f}}, 4});
  prompt[0] = {prompt[0].id, 0, {}, 0};
  return prompt;
}

Json list_of(const Tokenizer& tokenizer, const std::vector<TokenLogprob>& prompt, std::string_view echo,
             std::size_t most) {
  LogprobList list(tokenizer, LogprobList::Shape::kText);
  list.add_prompt(prompt, echo, most);
  list.add({kA, -0.25f, {{kA, -0.25f}}});
  list.add({kEnd, -3, {{kA, -1}}});
  return list.take();
}

}  // namespace

TEST_CASE("an echoed prompt and its completion are one list") {
  const auto tokenizer = make_tokenizer();
  const Json json = list_of(*tokenizer, prompt_of({kSpaceA, kA, kB}), " aab", 1);
  CHECK(json == Json::parse(R"({"tokens": [" a", "a", "b", "a", "</s>"],
      "token_logprobs": [null, -1.5, -1.5, -0.25, -3.0],
      "top_logprobs": [null, {"a": -0.5}, {"a": -0.5, "b": -1.5}, {"a": -0.25}, {"a": -1.0, "</s>": -3.0}],
      "text_offset": [0, 2, 3, 4, 5]})"));
  // Two tokens are "b": the likelier one's number is told.
  const Json all = list_of(*tokenizer, prompt_of({kSpaceA, kA, kB}), " aab", 3);
  CHECK(all["top_logprobs"][1] == Json::parse(R"({"a": -0.5, "b": -1.25})"));
}

TEST_CASE("offsets are those of the text, which may not show all of its tokens") {
  const auto tokenizer = make_tokenizer();
  const auto offsets = [&](std::initializer_list<TokenId> ids, std::string_view echo) {
    return list_of(*tokenizer, prompt_of(ids), echo, 1)["text_offset"].get<std::vector<int>>();
  };
  CHECK(offsets({kBos, kSpaceA, kA, kSpaceA}, "aa a") == std::vector{0, 0, 1, 2, 4, 5});
  CHECK(offsets({kBos, kSpaceA}, " a") == std::vector{0, 0, 2, 3});
  CHECK(offsets({kA, kByte0, kByte1, kByte2, kB}, "a€b") == std::vector{0, 1, 2, 2, 2, 3, 4});
  CHECK(offsets({kA, kBos, kB}, "a<s>b") == std::vector{0, 1, 4, 5, 6});       // as a client wrote it
  CHECK(offsets({kA, kByte0, kB}, "a\uFFFDb") == std::vector{0, 1, 1, 3, 4});  // what comes after stays right
  CHECK(offsets({kBos}, "") == std::vector{0, 0, 1});
}

TEST_CASE("vLLM's form of a prompt's log-probabilities") {
  const auto tokenizer = make_tokenizer();
  CHECK(prompt_logprobs_json(*tokenizer, prompt_of({kSpaceA, kEnd, kB}), 2) == Json::parse(R"([null,
      {"9": {"logprob": -1.5, "rank": 4, "decoded_token": "</s>"},
       "5": {"logprob": -0.5, "rank": 1, "decoded_token": "a"}, "7": {"logprob": -1.25, "rank": 2, "decoded_token": "b"}},
      {"7": {"logprob": -1.5, "rank": 4, "decoded_token": "b"},
       "5": {"logprob": -0.5, "rank": 1, "decoded_token": "a"}}])"));
  CHECK(prompt_logprobs_json(*tokenizer, prompt_of({kBos}), 2) == Json::parse("[null]"));
}

TEST_CASE("where an answer tells of its prompt") {
  const auto tokenizer = make_tokenizer();
  serving::Choice choice{1, {{Kind::kContent, "ba"}}, {{kA, -0.25f, {}}}, FinishReason::kLength, "", {}, {}};
  choice.prompt_logprobs = prompt_of({kA, kB});
  const AnswerHead text{false, false, false, "id-1", "m", "fp_1", 1700000000};
  const AnswerHead dialogue{true, false, false, "id-1", "m", "fp_1", 1700000000};
  const auto whole = [&](ShapeOptions options) {
    options.choices = 2;
    return Json::parse(make_shape(std::move(options), tokenizer.get())->whole({choice}, {}).body);
  };
  // Asked for by echo, in vLLM's form, or both, each with a number of its own.
  const Json echoed = whole({.head = text, .logprobs = true, .echoes = {"x", "ab"}, .echoed_top = 1});
  CHECK(echoed["choices"][0]["logprobs"]["tokens"] == Json::parse(R"(["a", "b", "a"])"));
  CHECK(echoed["choices"][0]["logprobs"]["text_offset"] == Json::parse("[0, 1, 2]"));
  CHECK_FALSE(echoed["choices"][0].contains("prompt_logprobs"));
  const Json both =
      whole({.head = text, .logprobs = true, .echoes = {"x", "ab"}, .echoed_top = 1, .prompt_logprobs = 2});
  CHECK(both["choices"][0]["logprobs"] == echoed["choices"][0]["logprobs"]);
  CHECK(both["choices"][0]["prompt_logprobs"][1].size() == 2);
  const Json own = whole({.head = text, .logprobs = true, .echoes = {}, .prompt_logprobs = 0});
  CHECK(own["choices"][0]["logprobs"]["tokens"] == Json::parse(R"(["a"])"));
  CHECK(own["choices"][0]["prompt_logprobs"][1].size() == 1);
  const Json chat = whole({.head = dialogue, .echoes = {}, .prompt_logprobs = 1});
  CHECK(chat["prompt_logprobs"].size() == 2);
  CHECK_FALSE(chat["choices"][0].contains("prompt_logprobs"));

  const auto stream =
      make_shape({.head = text, .logprobs = true, .choices = 2, .echoes = {"x", "ab"}}, tokenizer.get());
  const std::string first = stream->piece(choice);
  CHECK(first.find(R"("text":"ba")") != std::string::npos);
  CHECK(first.find(R"("text_offset":[0,1,2])") != std::string::npos);
  choice.prompt_logprobs.clear();
  CHECK(stream->piece(choice).find(R"("text_offset":[3])") != std::string::npos);
}
