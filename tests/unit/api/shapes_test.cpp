// The JSON of answers against OpenAI's published schemas: the members each must have.
#include "api/openai/shapes.hpp"

#include <catch2/catch.hpp>

#include "api/openai/json.hpp"

using namespace nacelle;
using namespace nacelle::openai;

namespace {

AnswerHead head(bool chat, bool stream) { return {chat, stream, true, "id-1", "m", "fp_1", 1700000000}; }

}  // namespace

TEST_CASE("a whole chat answer") {
  const Json json =
      Json::parse(whole_answer(head(true, false), {{0, "Hi \xff", nullptr, FinishReason::kStop}}, {3, 2, 1}));
  CHECK(json == Json::parse(R"({"id": "id-1", "object": "chat.completion", "created": 1700000000, "model": "m",
      "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi )"
                            "\xef\xbf\xbd"
                            R"(", "refusal": null},
                   "logprobs": null, "finish_reason": "stop"}],
      "system_fingerprint": "fp_1",
      "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}})"));
}

TEST_CASE("the chunks of a streamed chat") {
  CHECK(Json::parse(role_chunk(head(true, true), 1)) == Json::parse(R"({"id": "id-1", "object": "chat.completion.chunk",
      "created": 1700000000, "model": "m", "choices": [{"index": 1, "delta": {"role": "assistant", "content": "",
      "refusal": null}, "logprobs": null, "finish_reason": null}], "usage": null, "system_fingerprint": "fp_1"})"));
  const Json last = Json::parse(chunk(head(true, true), {0, "", nullptr, FinishReason::kLength}));
  CHECK(last["choices"][0]["delta"] == Json::object());
  CHECK(last["choices"][0]["finish_reason"] == "length");
  const Json usage = Json::parse(usage_chunk(head(true, true), {1, 2, 0}));
  CHECK(usage["choices"] == Json::array());
  CHECK(usage["usage"]["total_tokens"] == 3);
}

TEST_CASE("a text completion, whole and in chunks") {
  const Json whole = Json::parse(whole_answer(head(false, false), {{0, "x", nullptr, FinishReason::kStop}}, {}));
  CHECK(whole["object"] == "text_completion");
  CHECK(whole["choices"][0] == Json::parse(R"({"index": 0, "text": "x", "logprobs": null, "finish_reason": "stop"})"));
  CHECK(Json::parse(chunk(head(false, true), {0, "y", nullptr, FinishReason::kNone}))["choices"][0]["text"] == "y");
}
