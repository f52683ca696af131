#include "api/ollama/shape.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/openai/logprobs.hpp"
#include "api/openai/request.hpp"

namespace nacelle::ollama {
namespace {

using chat::AnswerEvent;
using fields::Json;
using fields::json_string;
using fields::to_text;
using serving::Choice;

std::string now() { return rfc3339(std::chrono::system_clock::now()); }

// A part of an answer, as it is told in one object.
struct Part {
  std::string content, thinking;
  Json calls = Json::array();
  Json logprobs = Json::array();
  bool empty() const { return content.empty() && thinking.empty() && calls.empty() && logprobs.empty(); }
};

class OllamaShape final : public serving::Shape {
 public:
  OllamaShape(AnswerHead head, const Tokenizer* tokenizer) : head_(std::move(head)), ids_(std::move(head_.prompt)) {
    if (head_.logprobs) logprobs_.emplace(*tokenizer, openai::LogprobList::Shape::kChat);
    before_time_ = R"({"model":)" + json_string(head_.model) + R"(,"created_at":")";
    before_text_ = head_.chat ? R"(","message":{"role":"assistant","content":)" : R"(","response":)";
    after_text_ = head_.chat ? "},\"done\":false}\n" : ",\"done\":false}\n";
  }

  http::Response whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& choice = choices.front();
    Part part;
    take(choice, part);
    end_call(part);
    return {200, to_text(last(std::move(part), choice.finish, usage)), "application/json", {}};
  }

  const char* stream_type() const override { return "application/x-ndjson"; }
  std::string open(const Usage&) override { return {}; }

  std::string piece(const Choice& news) override {
    Part part;
    std::string out;
    take(news, part);
    if (news.finish != FinishReason::kNone) {
      finish_ = news.finish;
      end_call(part);
    }
    if (!part.empty()) out = to_text(object(std::move(part), false)) + "\n";
    return out;
  }

  bool add_text(std::uint32_t, std::string_view text, std::string& out) override {
    if (logprobs_ || call_) return false;
    out.append(before_time_).append(now()).append(before_text_).append(json_string(text)).append(after_text_);
    return true;
  }

  std::string close(const Usage& usage) override { return to_text(last({}, finish_, usage)) + "\n"; }
  std::string failure(const http::ApiError& error) override { return ollama::error_response(error).body + "\n"; }
  http::Response error(const http::ApiError& error) override { return ollama::error_response(error); }

  // Lines of JSON have no comments: an object without text, which clients add to what they have.
  std::string keep_alive() const override { return before_time_ + now() + before_text_ + "\"\"" + after_text_; }

 private:
  // Adds what is new; a call once all its arguments are there.
  void take(const Choice& news, Part& part) {
    for (const AnswerEvent& one : news.events) {
      if (one.kind != AnswerEvent::Kind::kArguments) end_call(part);
      switch (one.kind) {
        case AnswerEvent::Kind::kContent: part.content += one.text; break;
        case AnswerEvent::Kind::kReasoning: part.thinking += one.text; break;
        case AnswerEvent::Kind::kCall: call_ = chat::ToolCall{one.id, one.text, ""}; break;
        case AnswerEvent::Kind::kArguments:
          if (call_) call_->arguments += one.text;
      }
    }
    ids_.insert(ids_.end(), news.ids.begin(), news.ids.end());
    if (!logprobs_) return;
    for (const TokenLogprob& token : news.logprobs) logprobs_->add(token);
    part.logprobs = logprobs_->take()["content"];
  }

  void end_call(Part& part) {
    if (!call_) return;
    part.calls.push_back(
        {{"id", call_->id},
         {"function",
          {{"index", calls_++}, {"name", call_->name}, {"arguments", openai::arguments_object(call_->arguments)}}}});
    call_.reset();
  }

  Json object(Part part, bool done) const {
    Json json = {{"model", head_.model}, {"created_at", now()}};
    Json message = Json::object();
    if (head_.chat) message["role"] = "assistant";
    message[head_.chat ? "content" : "response"] = std::move(part.content);
    if (!part.thinking.empty()) message["thinking"] = std::move(part.thinking);
    if (!part.calls.empty()) message["tool_calls"] = std::move(part.calls);
    if (head_.chat) {
      json["message"] = std::move(message);
    } else {
      json.update(message);
    }
    json["done"] = done;
    if (!part.logprobs.empty()) json["logprobs"] = std::move(part.logprobs);
    return json;
  }

  Json last(Part part, FinishReason finish, const Usage& usage) {
    Json json = object(std::move(part), true);
    const UsageTimes& times = usage.times;
    const bool answered = times.first_token != Clock::time_point{};
    const Clock::time_point read = answered ? times.first_token : times.last_token;  // the prompt
    json["done_reason"] = to_string(finish);
    json["total_duration"] = nanoseconds(head_.begin, Clock::now());
    json["load_duration"] = nanoseconds(head_.begin, head_.found);
    json["prompt_eval_count"] = usage.prompt_tokens;
    json["prompt_eval_duration"] = nanoseconds(times.scheduled, read);
    json["eval_count"] = usage.completion_tokens;
    json["eval_duration"] = answered ? nanoseconds(times.first_token, times.last_token) : 0;
    if (head_.context) json["context"] = std::move(ids_);
    return json;
  }

  AnswerHead head_;
  std::vector<TokenId> ids_;  // of the prompt, then of the answer
  std::optional<openai::LogprobList> logprobs_;
  std::optional<chat::ToolCall> call_;  // has begun
  std::size_t calls_ = 0;
  FinishReason finish_ = FinishReason::kNone;
  std::string before_time_, before_text_, after_text_;  // of an object that has some text and no more
};

}  // namespace

std::unique_ptr<serving::Shape> make_shape(AnswerHead head, const Tokenizer* tokenizer) {
  return std::make_unique<OllamaShape>(std::move(head), tokenizer);
}

Json empty_answer(const AnswerHead& head, const char* reason) {
  Json json = {{"model", head.model}, {"created_at", now()}};
  if (head.chat) {
    json["message"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    json["response"] = "";
  }
  json["done"] = true;
  json["done_reason"] = reason;
  return json;
}

std::int64_t nanoseconds(Clock::time_point begin, Clock::time_point end) {
  return std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count(), 0);
}

std::string rfc3339(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(time - seconds).count();
  return fmt::format("{:%FT%T}.{:09}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), rest);
}

http::Response error_response(const http::ApiError& error, std::string_view) {
  http::Response response = http::error_response(error);  // for its headers
  response.body = to_text({{"error", error.message}});
  return response;
}

}  // namespace nacelle::ollama
