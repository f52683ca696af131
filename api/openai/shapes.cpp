#include "api/openai/shapes.hpp"

#include <ctime>
#include <utility>
#include <vector>

#include "api/openai/logprobs.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::openai {
namespace {

using chat::AnswerEvent;
using serving::Choice;

constexpr const char* kFunctionCall = "function_call";

std::string event(const std::string& json) { return "data: " + json + "\n\n"; }

// `called`: what a call is told under.
Json finish_json(FinishReason reason, bool calls, const char* called) {
  if (reason == FinishReason::kNone) return nullptr;
  return reason == FinishReason::kStop && calls ? called : to_string(reason);
}

Json envelope(const AnswerHead& head, Json choices) {
  const char* object = !head.chat ? "text_completion" : head.stream ? "chat.completion.chunk" : "chat.completion";
  Json json = {{"id", head.id},
               {"object", object},
               {"created", head.created},
               {"model", head.model},
               {"choices", std::move(choices)}};
  if (head.stream && head.include_usage) json["usage"] = nullptr;
  json["system_fingerprint"] = head.fingerprint;
  return json;
}

// `name` and `content`: "message" or "delta" and its object, or "text" and a string.
Json choice_json(std::uint32_t index, const char* name, Json content, Json logprobs, Json finish) {
  return {{"index", index},
          {name, std::move(content)},
          {"logprobs", std::move(logprobs)},
          {"finish_reason", std::move(finish)}};
}

// Under its name, "tool_calls" or the deprecated "function_call", which has room for one.
void add_calls(Json& message, Json calls, const char* called) {
  if (calls.empty()) return;
  message[called] = std::string_view(called) == kFunctionCall ? std::move(calls.front()["function"]) : std::move(calls);
}

Json message_json(const Choice& choice, const char* called) {
  std::string text = chat::joined(choice.events, AnswerEvent::Kind::kContent);
  const std::string reasoning = chat::joined(choice.events, AnswerEvent::Kind::kReasoning);
  Json message = {{"role", "assistant"}, {"content", nullptr}, {"refusal", nullptr}};
  Json calls = Json::array();
  for (chat::ToolCall& call : chat::calls_of(choice.events)) {
    calls.push_back({{"id", std::move(call.id)},
                     {"type", "function"},
                     {"function", {{"name", std::move(call.name)}, {"arguments", std::move(call.arguments)}}}});
  }
  if (!text.empty() || calls.empty()) message["content"] = std::move(text);
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  add_calls(message, std::move(calls), called);
  return message;
}

class OpenAiShape final : public serving::Shape {
 public:
  OpenAiShape(ShapeOptions options, const Tokenizer* tokenizer)
      : options_(std::move(options)),
        head_(options_.head),
        tokenizer_(tokenizer),
        calls_(options_.choices, 0),
        frames_(options_.choices) {
    if (!options_.logprobs) return;
    const auto shape = head_.chat ? LogprobList::Shape::kChat : LogprobList::Shape::kText;
    for (std::uint32_t i = 0; i < options_.choices; ++i) logprobs_.emplace_back(*tokenizer, shape);
  }

  http::Response whole(const std::vector<Choice>& choices, const Usage& usage) override {
    Json list = Json::array();
    for (const Choice& choice : choices) {
      Json content =
          head_.chat ? message_json(choice, called_) : Json(chat::joined(choice.events, AnswerEvent::Kind::kContent));
      list.push_back(choice_json(choice.index, head_.chat ? "message" : "text", std::move(content), logprobs(choice),
                                 finish_json(choice.finish, chat::has_calls(choice.events), called_)));
      if (options_.prompt_logprobs && !head_.chat) list.back()["prompt_logprobs"] = prompt_logprobs(choice);
    }
    Json json = envelope(head_, std::move(list));
    if (options_.prompt_logprobs && head_.chat) json["prompt_logprobs"] = prompt_logprobs(choices.front());
    json["usage"] = usage_json(usage);
    return {200, to_text(json), "application/json", {}};
  }

  std::string open(const Usage&) override {
    std::string out;
    if (!head_.chat) return out;
    for (std::uint32_t i = 0; i < options_.choices; ++i) {
      Json delta = {{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}};
      out += chunk(choice_json(i, "delta", std::move(delta), nullptr, nullptr));
    }
    return out;
  }

  std::string piece(const Choice& news) override {
    std::string text;
    if (is_plain(news) && add_text(news.index, news.events[0].text, text)) return text;
    Json content = head_.chat ? delta(news) : Json(chat::joined(news.events, AnswerEvent::Kind::kContent));
    return chunk(choice_json(news.index, head_.chat ? "delta" : "text", std::move(content), logprobs(news),
                             finish_json(news.finish, calls_[news.index] > 0, called_)));
  }

  // All of it but the text is the same each time and is made once.
  bool add_text(std::uint32_t index, std::string_view text, std::string& out) override {
    if (!logprobs_.empty()) return false;
    Frame& frame = frames_[index];
    if (frame.before.empty()) {
      const std::string mark = random_id("");
      Json content = head_.chat ? Json{{"content", mark}} : Json(mark);
      const std::string whole =
          chunk(choice_json(index, head_.chat ? "delta" : "text", std::move(content), nullptr, nullptr));
      const std::size_t at = whole.find('"' + mark + '"');
      frame = {whole.substr(0, at), whole.substr(at + mark.size() + 2)};
    }
    out.append(frame.before).append(json_string(text)).append(frame.after);
    return true;
  }

  std::string close(const Usage& usage) override {
    constexpr const char* kDone = "data: [DONE]\n\n";
    if (!head_.include_usage) return kDone;
    Json json = envelope(head_, Json::array());
    json["usage"] = usage_json(usage);
    return event(to_text(json)) + kDone;
  }

  std::string failure(const http::ApiError& error) override { return event(http::error_body(error)); }

 private:
  std::string chunk(Json choice) { return event(to_text(envelope(head_, Json::array({std::move(choice)})))); }

  // A bit of text and no more, as nearly all pieces are.
  bool is_plain(const Choice& news) const {
    return news.events.size() == 1 && news.events[0].kind == AnswerEvent::Kind::kContent &&
           !news.events[0].text.empty() && news.finish == FinishReason::kNone;
  }

  // A call's id and name come once, its arguments in pieces that are told by its index.
  Json delta(const Choice& news) {
    Json result = Json::object();
    const std::string text = chat::joined(news.events, AnswerEvent::Kind::kContent);
    const std::string reasoning = chat::joined(news.events, AnswerEvent::Kind::kReasoning);
    if (!reasoning.empty()) result["reasoning_content"] = reasoning;
    if (!text.empty()) result["content"] = text;
    Json calls = Json::array();
    std::uint32_t& count = calls_[news.index];
    for (const AnswerEvent& one : news.events) {
      if (one.kind == AnswerEvent::Kind::kCall) {
        calls.push_back({{"index", count++},
                         {"id", one.id},
                         {"type", "function"},
                         {"function", {{"name", one.text}, {"arguments", ""}}}});
      } else if (one.kind == AnswerEvent::Kind::kArguments && !calls.empty()) {
        calls.back()["function"]["arguments"].get_ref<std::string&>() += one.text;
      } else if (one.kind == AnswerEvent::Kind::kArguments) {
        calls.push_back({{"index", count - 1}, {"function", {{"arguments", one.text}}}});
      }
    }
    add_calls(result, std::move(calls), called_);
    return result;
  }

  Json logprobs(const Choice& choice) {
    if (logprobs_.empty()) return nullptr;
    LogprobList& list = logprobs_[choice.index];
    if (!options_.echoes.empty() && !choice.prompt_logprobs.empty())
      list.add_prompt(choice.prompt_logprobs, options_.echoes[choice.index / options_.choices_a_prompt],
                      options_.echoed_top);
    for (const TokenLogprob& token : choice.logprobs) list.add(token);
    return list.take();
  }

  Json prompt_logprobs(const Choice& choice) const {
    return prompt_logprobs_json(*tokenizer_, choice.prompt_logprobs, *options_.prompt_logprobs);
  }

  const ShapeOptions options_;
  const AnswerHead& head_;
  const Tokenizer* const tokenizer_;
  const char* const called_ = options_.functions ? kFunctionCall : "tool_calls";
  std::vector<std::uint32_t> calls_;   // begun, by choice
  std::vector<LogprobList> logprobs_;  // by choice; empty: not asked for
  struct Frame {
    std::string before, after;  // of a plain piece's text
  };
  std::vector<Frame> frames_;  // by choice; empty until the first plain piece
};

}  // namespace

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

AnswerHead make_head(const ServedModel& model, const GenerationBody& body, bool chat) {
  return {chat,         body.stream,       body.include_usage, random_id(chat ? "chatcmpl-" : "cmpl-"),
          model.name(), model.fingerprint, std::time(nullptr)};
}

std::unique_ptr<serving::Shape> make_shape(ShapeOptions options, const Tokenizer* tokenizer) {
  return std::make_unique<OpenAiShape>(std::move(options), tokenizer);
}

}  // namespace nacelle::openai
