// The JSON of Ollama's answers: whole, and a line for each piece.
#include <catch2/catch.hpp>

#include "api/ollama/shape.hpp"

using namespace nacelle;
using namespace std::chrono_literals;
using fields::Json;
using serving::Choice;
using EventKind = chat::AnswerEvent::Kind;

namespace {

const chat::AnswerEvents kAllEvents = {{EventKind::kReasoning, "Hm."},  {EventKind::kContent, "I call."},
                                       {EventKind::kCall, "f", "id_1"}, {EventKind::kArguments, R"({"a")"},
                                       {EventKind::kArguments, ": 1}"}, {EventKind::kCall, "g", "id_2"},
                                       {EventKind::kArguments, "{"}};

Choice ollama_choice(chat::AnswerEvents events, FinishReason finish) {
  return {0, std::move(events), {}, finish, "", {}};
}

// A prompt that waited, was read in 2 ms, and was answered in 3 more.
Usage measured() {
  const ollama::Clock::time_point start = ollama::Clock::now() - 10ms;
  return {5, 7, 2, 0, {start, start + 2ms, start + 5ms}};
}

ollama::AnswerHead answer_head(bool chat, bool context = false) {
  const auto begin = ollama::Clock::now() - 20ms;
  return {"m:latest", chat, false, context, {1, 2}, begin, begin + 1ms};
}

std::vector<Json> lines_of(const std::string& stream) {
  std::vector<Json> lines;
  for (std::size_t at = 0, end; at < stream.size(); at = end + 1) {
    end = stream.find('\n', at);
    REQUIRE(end != std::string::npos);
    lines.push_back(Json::parse(stream.substr(at, end - at)));
  }
  return lines;
}

// Each event alone, then the end.
std::vector<Json> streamed_lines(serving::Shape& shape, const chat::AnswerEvents& events, FinishReason finish) {
  std::string out = shape.open({});
  for (const chat::AnswerEvent& event : events) out += shape.piece(ollama_choice({event}, FinishReason::kNone));
  out += shape.piece(ollama_choice({}, finish));  // in a step of its own: operands of + may be evaluated in any order
  return lines_of(out + shape.close(measured()));
}

}  // namespace

TEST_CASE("a chat's answer, whole") {
  const auto shape = ollama::make_shape(answer_head(true), nullptr);
  const Json json = Json::parse(shape->whole({ollama_choice(kAllEvents, FinishReason::kStop)}, measured()).body);
  CHECK(json["model"] == "m:latest");
  CHECK(json["message"] == Json::parse(R"({"role": "assistant", "content": "I call.", "thinking": "Hm.", "tool_calls": [
      {"id": "id_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
      {"id": "id_2", "function": {"index": 1, "name": "g", "arguments": {"invalid_json": "{"}}}]})"));
  CHECK(json["done"] == true);
  CHECK(json["done_reason"] == "stop");
  CHECK(json["prompt_eval_count"] == 5);
  CHECK(json["eval_count"] == 7);
  CHECK(json["load_duration"] == 1'000'000);
  CHECK(json["prompt_eval_duration"] == 2'000'000);
  CHECK(json["eval_duration"] == 3'000'000);
  CHECK(json["total_duration"] >= 20'000'000);
  CHECK_FALSE(json.contains("context"));
  CHECK_FALSE(json.contains("logprobs"));
}

TEST_CASE("a chat's answer, streamed_lines: calls come whole") {
  const auto shape = ollama::make_shape(answer_head(true), nullptr);
  CHECK(std::string(shape->stream_type()) == "application/x-ndjson");
  const std::vector<Json> lines = streamed_lines(*shape, kAllEvents, FinishReason::kLength);
  REQUIRE(lines.size() == 5);
  CHECK(lines[0]["message"] == Json::parse(R"({"role": "assistant", "content": "", "thinking": "Hm."})"));
  CHECK(lines[1]["message"] == Json::parse(R"({"role": "assistant", "content": "I call."})"));
  CHECK(lines[2]["message"]["tool_calls"][0]["function"]["arguments"] == Json::parse(R"({"a": 1})"));
  CHECK(lines[3]["message"]["tool_calls"][0]["function"]["index"] == 1);
  for (std::size_t i = 0; i < 4; ++i) CHECK(lines[i]["done"] == false);
  CHECK(lines[4]["message"] == Json::parse(R"({"role": "assistant", "content": ""})"));
  CHECK(lines[4]["done"] == true);
  CHECK(lines[4]["done_reason"] == "length");
  CHECK(lines[4]["eval_count"] == 7);
}

TEST_CASE("a single prompt's answer has its tokens") {
  Choice choice = ollama_choice({{EventKind::kContent, "x"}}, FinishReason::kStop);
  choice.ids = {3, 4};
  const Json whole =
      Json::parse(ollama::make_shape(answer_head(false, true), nullptr)->whole({choice}, measured()).body);
  CHECK(whole["response"] == "x");
  CHECK_FALSE(whole.contains("message"));
  CHECK(whole["context"] == Json({1, 2, 3, 4}));
  const auto shape = ollama::make_shape(answer_head(false, true), nullptr);
  std::string stream = shape->piece(choice);
  stream += shape->close(measured());
  const std::vector<Json> lines = lines_of(stream);
  CHECK(lines[0]["response"] == "x");
  CHECK_FALSE(lines[0].contains("context"));
  CHECK(lines[1]["response"] == "");
  CHECK(lines[1]["context"] == Json({1, 2, 3, 4}));
}

TEST_CASE("the short way gives the same line, and so does a word that keeps a stream alive") {
  for (const bool chat : {true, false}) {
    const auto shape = ollama::make_shape(answer_head(chat), nullptr);
    std::string fast;
    REQUIRE(shape->add_text(0, "a \"b\"\n", fast));
    Json line = lines_of(fast).at(0);
    Json slow = lines_of(shape->piece(ollama_choice({{EventKind::kContent, "a \"b\"\n"}}, FinishReason::kNone))).at(0);
    CHECK(line["created_at"].get<std::string>().size() == slow["created_at"].get<std::string>().size());
    line["created_at"] = slow["created_at"];
    CHECK(line.dump() == slow.dump());
    const Json silent = lines_of(shape->keep_alive()).at(0);
    CHECK(silent["done"] == false);
    CHECK((chat ? silent["message"]["content"] : silent["response"]) == "");
  }
}

TEST_CASE("a prompt that was only read, and a model that was asked for") {
  Usage read = measured();
  read.times.last_token = read.times.first_token;
  read.times.first_token = {};
  const auto shape = ollama::make_shape(answer_head(true), nullptr);
  const Json json = Json::parse(shape->whole({ollama_choice({}, FinishReason::kLength)}, read).body);
  CHECK(json["prompt_eval_duration"] == 2'000'000);
  CHECK(json["eval_duration"] == 0);
  const Json loaded = ollama::empty_answer(answer_head(true), "load");
  CHECK(loaded["done_reason"] == "load");
  CHECK(loaded["message"]["content"] == "");
  CHECK(ollama::empty_answer(answer_head(false), "load")["response"] == "");
}

TEST_CASE("failures of Ollama's API, and its times") {
  const http::Response response = ollama::error_response({429, "no room", "x", "busy", 7});
  CHECK(response.status == 429);
  CHECK(response.body == R"({"error":"no room"})");
  CHECK_FALSE(response.headers.empty());
  const auto shape = ollama::make_shape(answer_head(true), nullptr);
  CHECK(shape->failure({500, "broken", "", ""}) == "{\"error\":\"broken\"}\n");
  CHECK(ollama::rfc3339(std::chrono::system_clock::time_point(1700000000s + 5ms)) == "2023-11-14T22:13:20.005000000Z");
}
