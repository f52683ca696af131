#include "api/anthropic/shape.hpp"

#include <utility>

#include "api/openai/request.hpp"

namespace nacelle::anthropic {
namespace {

using chat::AnswerEvent;
using fields::Json;
using fields::to_text;
using serving::Choice;

std::string event(const char* type, const Json& members) {
  Json json = {{"type", type}};
  json.update(members);
  return std::string("event: ") + type + "\ndata: " + to_text(json) + "\n\n";
}

const char* error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

Json error_json(const http::ApiError& error, std::string_view request_id) {
  Json failure = {{"type", error_type(error.status)}, {"message", error.message}};
  if (error.code == "thread_unsupported_request")  // a word that Anthropic's client goes by
    failure["details"] = {{"error_code", error.code}, {"unsupported", {"thread"}}};
  return {{"error", std::move(failure)}, {"request_id", request_id}};
}

Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},  // Anthropic's leave the cached ones out
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.completion_tokens}};
}

class MessagesShape final : public serving::Shape {
 public:
  MessagesShape(std::string id, std::string model, std::string request_id, bool omit_thinking)
      : id_(std::move(id)),
        model_(std::move(model)),
        request_id_(std::move(request_id)),
        omit_thinking_(omit_thinking) {}

  http::Response whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& choice = choices.front();
    Json content = Json::array();
    for (const AnswerEvent& one : choice.events) {
      switch (one.kind) {
        case AnswerEvent::Kind::kContent: content.push_back({{"type", "text"}, {"text", one.text}}); break;
        case AnswerEvent::Kind::kReasoning:
          content.push_back(
              {{"type", "thinking"}, {"thinking", omit_thinking_ ? std::string() : one.text}, {"signature", ""}});
          break;
        case AnswerEvent::Kind::kCall:
          calls_ = true;
          content.push_back({{"type", "tool_use"}, {"id", one.id}, {"name", one.text}, {"input", Json::object()}});
          break;
        case AnswerEvent::Kind::kArguments: content.back()["input"] = openai::arguments_object(one.text); break;
      }
    }
    Json message = this->message(std::move(content), usage);
    message.update(ending(choice));
    return {200, to_text(message), "application/json", {}};
  }

  std::string open(const Usage& usage) override {
    started_ = true;
    return event("message_start", {{"message", message(Json::array(), usage)}}) + ping();
  }

  std::string piece(const Choice& news) override {
    std::string out;
    for (const AnswerEvent& one : news.events) out += take(one);
    if (news.finish != FinishReason::kNone) ending_ = ending(news);
    return out;
  }

  std::string close(const Usage& usage) override {
    const std::string closed = close_block();
    return closed + event("message_delta", {{"delta", ending_}, {"usage", usage_json(usage)}}) +
           event("message_stop", Json::object());
  }

  std::string failure(const http::ApiError& error) override { return event("error", error_json(error, request_id_)); }
  // No event may stand before message_start.
  std::string keep_alive() const override { return started_ ? ping() : Shape::keep_alive(); }
  http::Response error(const http::ApiError& error) override { return anthropic::error_response(error, request_id_); }

 private:
  static std::string ping() { return event("ping", Json::object()); }

  Json message(Json content, const Usage& usage) const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", std::move(content)},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr},
            {"usage", usage_json(usage)}};
  }

  Json ending(const Choice& choice) const {
    const char* reason = choice.finish == FinishReason::kLength ? "max_tokens"
                         : calls_                               ? "tool_use"
                         : !choice.stop.empty()                 ? "stop_sequence"
                                                                : "end_turn";
    const bool stopped = std::string_view(reason) == "stop_sequence";
    return {{"stop_reason", reason}, {"stop_sequence", stopped ? Json(choice.stop) : Json(nullptr)}};
  }

  std::string take(const AnswerEvent& one) {
    const bool continues = open_ && (one.kind == kind_ || one.kind == AnswerEvent::Kind::kArguments);
    std::string out;
    if (!continues || one.kind == AnswerEvent::Kind::kCall) {
      out = close_block();  // not in one expression: its order would be the compiler's
      out += open_block(one);
    }
    if (one.kind == AnswerEvent::Kind::kReasoning && omit_thinking_) return out;
    Json delta;
    switch (one.kind) {
      case AnswerEvent::Kind::kContent: delta = {{"type", "text_delta"}, {"text", one.text}}; break;
      case AnswerEvent::Kind::kReasoning: delta = {{"type", "thinking_delta"}, {"thinking", one.text}}; break;
      case AnswerEvent::Kind::kArguments: delta = {{"type", "input_json_delta"}, {"partial_json", one.text}}; break;
      case AnswerEvent::Kind::kCall: return out;
    }
    return out + event("content_block_delta", {{"index", index_}, {"delta", std::move(delta)}});
  }

  std::string open_block(const AnswerEvent& one) {
    open_ = true;
    kind_ = one.kind;
    Json block;
    switch (one.kind) {
      case AnswerEvent::Kind::kReasoning: block = {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}; break;
      case AnswerEvent::Kind::kCall:
        calls_ = true;
        block = {{"type", "tool_use"}, {"id", one.id}, {"name", one.text}, {"input", Json::object()}};
        break;
      default: block = {{"type", "text"}, {"text", ""}};
    }
    return event("content_block_start", {{"index", index_}, {"content_block", std::move(block)}});
  }

  std::string close_block() {
    if (!std::exchange(open_, false)) return {};
    return event("content_block_stop", {{"index", index_++}});
  }

  const std::string id_, model_, request_id_;
  const bool omit_thinking_;  // its blocks come without their text
  bool started_ = false;      // message_start has gone
  bool open_ = false;         // a block is, of kind_
  AnswerEvent::Kind kind_ = AnswerEvent::Kind::kContent;
  std::size_t index_ = 0;
  bool calls_ = false;
  Json ending_;
};

}  // namespace

std::unique_ptr<serving::Shape> make_shape(std::string id, std::string model, std::string request_id,
                                           bool omit_thinking) {
  return std::make_unique<MessagesShape>(std::move(id), std::move(model), std::move(request_id), omit_thinking);
}

http::Response error_response(const http::ApiError& error, std::string_view request_id) {
  http::Response response = http::error_response(error);  // for its headers
  Json body = {{"type", "error"}};
  body.update(error_json(error, request_id));
  response.body = to_text(body);
  return response;
}

}  // namespace nacelle::anthropic
