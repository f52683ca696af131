// The JSON and the streams of the other dialects.
#include <catch2/catch.hpp>

#include "api/anthropic/shape.hpp"
#include "api/openai/responses_shape.hpp"
#include "api/takeoff/shape.hpp"

using namespace nacelle;
using fields::Json;
using serving::Choice;
using EventKind = chat::AnswerEvent::Kind;

namespace {

const chat::AnswerEvents kEverything = {{EventKind::kReasoning, "Hm."},  {EventKind::kContent, "I call."},
                                        {EventKind::kCall, "f", "id_1"}, {EventKind::kArguments, R"({"a": 1})"},
                                        {EventKind::kCall, "g", "id_2"}, {EventKind::kArguments, "{}"}};

Choice choice_with(chat::AnswerEvents events, FinishReason finish, std::string stop = "") {
  return {0, std::move(events), {}, finish, std::move(stop), {}};
}

// Each event alone, then the end: what a stream is at its most cut up.
std::string streamed(serving::Shape& shape, const chat::AnswerEvents& events, FinishReason finish) {
  std::string out = shape.open({5, 0, 0});
  for (const chat::AnswerEvent& event : events) out += shape.piece(choice_with({event}, FinishReason::kNone));
  out += shape.piece(choice_with({}, finish));  // in a step of its own: operands of + may be evaluated in any order
  return out + shape.close({5, 7, 2});
}

std::vector<Json> data_of(const std::string& stream) {
  std::vector<Json> events;
  for (std::size_t at = stream.find("data: {"); at != std::string::npos; at = stream.find("data: {", at + 1)) {
    events.push_back(Json::parse(stream.substr(at + 6, stream.find("\n\n", at) - at - 6)));
    CHECK(stream.rfind("event: " + events.back()["type"].get<std::string>() + "\n", at) != std::string::npos);
  }
  return events;
}

std::string types_of(const std::vector<Json>& events) {
  std::string types;
  for (const Json& event : events) types += event["type"].get<std::string>() + " ";
  return types;
}

}  // namespace

TEST_CASE("a message of Anthropic's, whole") {
  const Json message = Json::parse(anthropic::make_shape("msg_1", "m", "req-1")
                                       ->whole({choice_with(kEverything, FinishReason::kStop)}, {5, 7, 2})
                                       .body);
  CHECK(message == Json::parse(R"({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
      {"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "I call."},
      {"type": "tool_use", "id": "id_1", "name": "f", "input": {"a": 1}},
      {"type": "tool_use", "id": "id_2", "name": "g", "input": {}}],
      "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 3,
      "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 7}})"));
  const Json stopped =
      Json::parse(anthropic::make_shape("msg_1", "m", "req-1")
                      ->whole({choice_with({{EventKind::kContent, "x"}}, FinishReason::kStop, "END")}, {})
                      .body);
  CHECK(stopped["stop_reason"] == "stop_sequence");
  CHECK(stopped["stop_sequence"] == "END");
}

TEST_CASE("what keeps a stream alive: a comment, and a ping once Anthropic's message has started") {
  const auto shape = anthropic::make_shape("msg_1", "m", "req-1");
  CHECK(shape->keep_alive() == ": keep-alive\n\n");
  shape->open({});
  CHECK(shape->keep_alive() == "event: ping\ndata: {\"type\":\"ping\"}\n\n");
  CHECK(takeoff::make_shape(true)->keep_alive() == ": keep-alive\n\n");
}

TEST_CASE("a message of Anthropic's, streamed") {
  const auto shape = anthropic::make_shape("msg_1", "m", "req-1");
  const std::vector<Json> events = data_of(streamed(*shape, kEverything, FinishReason::kStop));
  CHECK(types_of(events) ==
        "message_start ping content_block_start content_block_delta content_block_stop content_block_start "
        "content_block_delta content_block_stop content_block_start content_block_delta content_block_stop "
        "content_block_start content_block_delta content_block_stop message_delta message_stop ");
  CHECK(events[2]["content_block"]["type"] == "thinking");
  CHECK(events[8] == Json::parse(R"({"type": "content_block_start", "index": 2, "content_block":
      {"type": "tool_use", "id": "id_1", "name": "f", "input": {}}})"));
  CHECK(events[9]["delta"] == Json::parse(R"({"type": "input_json_delta", "partial_json": "{\"a\": 1}"})"));
  CHECK(events[14]["delta"]["stop_reason"] == "tool_use");
  CHECK(events[14]["usage"]["output_tokens"] == 7);
}

TEST_CASE("failures of Anthropic's API") {
  const http::Response response = anthropic::error_response({503, "no room", "", "unavailable"}, "req-1");
  CHECK(response.status == 503);
  CHECK(Json::parse(response.body) ==
        Json::parse(R"({"type": "error", "error": {"type": "overloaded_error", "message": "no room"},
                        "request_id": "req-1"})"));
  CHECK_FALSE(response.headers.empty());
  const auto shape = anthropic::make_shape("msg_1", "m", "req-1");
  CHECK(Json::parse(shape->error({503, "no room", "", ""}).body)["request_id"] == "req-1");
  CHECK(shape->failure({503, "no room", "", ""}).find(R"("request_id":"req-1")") != std::string::npos);
}

TEST_CASE("a response, whole and as events") {
  std::string kept;
  const auto make = [&] {
    return openai::make_responses_shape({"resp_1", "m", 1700000000, {{"store", true}}, false}, nullptr,
                                        [&kept](const openai::EndedResponse& over) {
                                          kept = over.text;
                                          CHECK(over.json == Json::parse(over.text));
                                          CHECK(over.said == kEverything);
                                        });
  };
  const Json whole = Json::parse(make()->whole({choice_with(kEverything, FinishReason::kStop)}, {5, 7, 2, 3}).body);
  CHECK(Json::parse(kept) == whole);
  CHECK(whole["status"] == "completed");
  CHECK(whole["store"] == true);
  REQUIRE(whole["output"].size() == 4);
  CHECK(whole["output"][0]["content"][0]["text"] == "Hm.");
  CHECK(whole["output"][1]["content"][0] ==
        Json::parse(R"({"type": "output_text", "text": "I call.", "annotations": [], "logprobs": []})"));
  CHECK(whole["output"][2]["arguments"] == R"({"a": 1})");
  CHECK(whole["output"][3]["call_id"] == "id_2");
  CHECK(whole["usage"]["total_tokens"] == 12);
  CHECK(whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 3);

  const auto shape = make();
  const std::vector<Json> events = data_of(streamed(*shape, kEverything, FinishReason::kStop));
  for (std::size_t i = 0; i < events.size(); ++i) CHECK(events[i]["sequence_number"] == i);
  CHECK(events.front()["type"] == "response.created");
  CHECK(events.back()["type"] == "response.completed");
  CHECK(events.back()["response"]["output"].size() == 4);
  CHECK(types_of(events).find("response.function_call_arguments.done response.output_item.done "
                              "response.output_item.added response.function_call_arguments.delta") !=
        std::string::npos);
}

TEST_CASE("a response that was cut, and one that failed") {
  const auto ignore = [](const openai::EndedResponse&) {};
  const auto shape = openai::make_responses_shape({"resp_1", "m", 0, Json::object(), false}, nullptr, ignore);
  const std::vector<Json> events = data_of(streamed(*shape, {{EventKind::kContent, "x"}}, FinishReason::kLength));
  CHECK(events.back()["type"] == "response.incomplete");
  CHECK(events.back()["response"]["output"][0]["status"] == "incomplete");
  CHECK(events.back()["response"]["incomplete_details"]["reason"] == "max_output_tokens");
  const auto failing = openai::make_responses_shape({"resp_1", "m", 0, Json::object(), false}, nullptr, ignore);
  const Json failed = data_of(failing->failure({500, "broken", "", ""})).back();
  CHECK(failed["response"]["status"] == "failed");
  CHECK(failed["response"]["error"]["message"] == "broken");
}

TEST_CASE("a response in the background is queued, then in progress, and may be looked at or cancelled") {
  std::string ended;
  const auto end = [&](const openai::EndedResponse& over) { ended += over.json["status"].get<std::string>() + " "; };
  const auto make = [&] {
    return openai::make_responses_shape({"resp_1", "m", 0, Json::object(), true}, nullptr, end);
  };
  const auto shape = make();
  CHECK(types_of(data_of(shape->open({}))) == "response.created response.queued ");
  CHECK(Json::parse(shape->snapshot())["status"] == "queued");
  CHECK(types_of(data_of(shape->piece(choice_with({{EventKind::kContent, "One "}}, FinishReason::kNone)))) ==
        "response.in_progress response.output_item.added response.content_part.added response.output_text.delta ");
  shape->piece(choice_with({{EventKind::kContent, "two"}}, FinishReason::kNone));
  const Json now = Json::parse(shape->snapshot());
  CHECK(now["status"] == "in_progress");
  CHECK_FALSE(now.contains("usage"));
  CHECK(now["output"][0]["status"] == "in_progress");
  CHECK(now["output"][0]["content"][0]["text"] == "One two");
  CHECK(ended.empty());
  shape->cancel();
  const Json cancelled = Json::parse(shape->snapshot());
  CHECK(cancelled["status"] == "cancelled");
  CHECK(cancelled["output"].size() == 1);
  CHECK(cancelled["output"][0]["status"] == "incomplete");
  CHECK(cancelled["output"][0]["content"][0]["text"] == "One two");
  CHECK(cancelled["incomplete_details"].is_null());
  const auto failing = make();
  failing->open({});
  failing->failure({429, "full", "", ""});
  CHECK(Json::parse(failing->snapshot())["error"]["code"] == "rate_limit_exceeded");
  CHECK(ended == "cancelled failed ");
}

TEST_CASE("Takeoff's answers") {
  Choice choice = choice_with({{EventKind::kContent, "a\nb"}}, FinishReason::kStop);
  CHECK(takeoff::make_shape(false)->whole({choice}, {}).body == R"({"text":"a\nb"})");
  CHECK(takeoff::make_shape(true)->whole({choice}, {}).body == R"({"text":["a\nb"]})");
  CHECK(takeoff::make_shape(false)->piece(choice) == "data: a\ndata: b\n\n");
  CHECK(takeoff::make_shape(true)->piece(choice) == "id: 0\ndata: a\ndata: b\n\n");
  // A client ends a line at each \r, \n and \r\n.
  choice.events[0].text = "a\rb\r\nc\r";
  CHECK(takeoff::make_shape(false)->piece(choice) == "data: a\rdata: b\r\ndata: c\r\n\n");
}
