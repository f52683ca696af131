// The JSON of answers against OpenAI's published schemas: the members each must have.
#include "api/openai/shapes.hpp"

#include <catch2/catch.hpp>

#include "api/fields/json.hpp"

using namespace nacelle;
using namespace nacelle::openai;
using chat::AnswerEvents;
using serving::Choice;
using Kind = chat::AnswerEvent::Kind;

namespace {

std::unique_ptr<serving::Shape> shape_for(bool chat, bool stream, std::uint32_t choices = 1) {
  return make_shape({{chat, stream, true, "id-1", "m", "fp_1", 1700000000}, false, choices, {}, 1}, nullptr);
}

Choice choice_of(AnswerEvents events, FinishReason finish, std::uint32_t index = 0) {
  return {index, std::move(events), {}, finish, "", {}};
}

// The JSON of a stream's events; the last, [DONE], is left out.
std::vector<Json> events_of(const std::string& stream) {
  std::vector<Json> events;
  for (std::size_t at = stream.find("data: {"); at != std::string::npos; at = stream.find("data: {", at + 1)) {
    events.push_back(Json::parse(stream.substr(at + 6, stream.find("\n\n", at) - at - 6)));
  }
  return events;
}

}  // namespace

TEST_CASE("a whole chat answer") {
  const Json json =
      Json::parse(shape_for(true, false)
                      ->whole({choice_of({{Kind::kContent, "Hi \xff"}}, FinishReason::kStop)}, {3, 2, 1, 2})
                      .body);
  CHECK(json == Json::parse(R"({"id": "id-1", "object": "chat.completion", "created": 1700000000, "model": "m",
      "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi )"
                            "\xef\xbf\xbd"
                            R"(", "refusal": null},
                   "logprobs": null, "finish_reason": "stop"}],
      "system_fingerprint": "fp_1",
      "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
      "completion_tokens_details": {"reasoning_tokens": 2}}})"));
}

TEST_CASE("a call in the deprecated form, whole and streamed") {
  const auto shape = [](bool stream) {
    ShapeOptions options{{true, stream, false, "id-1", "m", "fp_1", 1700000000}, false, 1, {}, 1, true};
    return make_shape(std::move(options), nullptr);
  };
  const AnswerEvents call = {{Kind::kCall, "f", "call_1"}, {Kind::kArguments, "{\"a\""}};
  const Json whole = Json::parse(shape(false)->whole({choice_of(call, FinishReason::kStop)}, {}).body)["choices"][0];
  CHECK(whole["finish_reason"] == "function_call");
  CHECK(to_text(whole["message"]["function_call"]) == R"({"name":"f","arguments":"{\"a\""})");
  CHECK_FALSE(whole["message"].contains("tool_calls"));
  const auto stream = shape(true);
  const auto piece = [&](AnswerEvents events, FinishReason finish) {
    return events_of(stream->piece(choice_of(std::move(events), finish))).at(0)["choices"][0];
  };
  CHECK(to_text(piece(call, FinishReason::kNone)["delta"]) == R"({"function_call":{"name":"f","arguments":"{\"a\""}})");
  const Json last = piece({{Kind::kArguments, ": 1}"}}, FinishReason::kStop);
  CHECK(to_text(last["delta"]) == R"({"function_call":{"arguments":": 1}"}})");
  CHECK(last["finish_reason"] == "function_call");
}

TEST_CASE("calls and reasoning of a whole chat answer") {
  const AnswerEvents events = {{Kind::kReasoning, "Hm."},
                               {Kind::kCall, "f", "call_1"},
                               {Kind::kArguments, "{\"a\": 1}"},
                               {Kind::kCall, "g", "call_2"}};
  const Json choice =
      Json::parse(shape_for(true, false)->whole({choice_of(events, FinishReason::kStop)}, {}).body)["choices"][0];
  CHECK(choice["finish_reason"] == "tool_calls");
  CHECK(choice["message"] == Json::parse(R"({"role": "assistant", "content": null, "refusal": null,
      "reasoning_content": "Hm.", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]})"));
  CHECK(Json::parse(shape_for(true, false)
                        ->whole({choice_of(events, FinishReason::kLength)}, {})
                        .body)["choices"][0]["finish_reason"] == "length");
}

TEST_CASE("the chunks of a streamed chat") {
  const auto shape = shape_for(true, true, 2);
  const std::vector<Json> roles = events_of(shape->open({}));
  REQUIRE(roles.size() == 2);
  CHECK(roles[1] == Json::parse(R"({"id": "id-1", "object": "chat.completion.chunk",
      "created": 1700000000, "model": "m", "choices": [{"index": 1, "delta": {"role": "assistant", "content": "",
      "refusal": null}, "logprobs": null, "finish_reason": null}], "usage": null, "system_fingerprint": "fp_1"})"));
  const Json last = events_of(shape->piece(choice_of({}, FinishReason::kLength)))[0];
  CHECK(last["choices"][0]["delta"] == Json::object());
  CHECK(last["choices"][0]["finish_reason"] == "length");
  const Json usage = events_of(shape->close({1, 2, 0})).at(0);
  CHECK(usage["choices"] == Json::array());
  CHECK(usage["usage"]["total_tokens"] == 3);
}

TEST_CASE("calls in a stream: the name once, then arguments by index") {
  const auto shape = shape_for(true, true);
  const auto delta = [&](AnswerEvents events) {
    return events_of(shape->piece(choice_of(std::move(events), FinishReason::kNone)))[0]["choices"][0]["delta"];
  };
  CHECK(delta({{Kind::kContent, "Hi"}, {Kind::kCall, "f", "call_1"}, {Kind::kArguments, "{"}}) ==
        Json::parse(
            R"({"content": "Hi", "tool_calls": [{"index": 0, "id": "call_1", "type": "function",
          "function": {"name": "f", "arguments": "{"}}]})"));
  CHECK(delta({{Kind::kArguments, "}"}, {Kind::kCall, "g", "call_2"}}) ==
        Json::parse(
            R"({"tool_calls": [{"index": 0, "function": {"arguments": "}"}},
                         {"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]})"));
  CHECK(events_of(shape->piece(choice_of({}, FinishReason::kStop)))[0]["choices"][0]["finish_reason"] == "tool_calls");
}

TEST_CASE("a text completion, whole and in chunks") {
  const auto choice = choice_of({{Kind::kContent, "x"}}, FinishReason::kStop);
  const Json whole = Json::parse(shape_for(false, false)->whole({choice}, {}).body);
  CHECK(whole["object"] == "text_completion");
  CHECK(whole["choices"][0] == Json::parse(R"({"index": 0, "text": "x", "logprobs": null, "finish_reason": "stop"})"));
  CHECK(shape_for(false, true)->open({}).empty());
  CHECK(events_of(shape_for(false, true)->piece(choice))[0]["choices"][0]["text"] == "x");
}
