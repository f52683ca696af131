#include "api/openai/responses_shape.hpp"

#include <utility>

#include "api/openai/random_id.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::openai {
namespace {

using chat::AnswerEvent;
using serving::Choice;

// Builds the output items from a choice's events, and the stream's events beside them.
class ResponsesShape final : public serving::Shape {
 public:
  ResponsesShape(ResponsesHead head, ResponseDone done) : head_(std::move(head)), done_(std::move(done)) {}

  http::Response whole(const std::vector<Choice>& choices, const Usage& usage) override {
    piece(choices.front());
    close_item();
    usage_ = usage;
    std::string json = to_text(response(status()));
    done_(json, said_);
    return {200, std::move(json), "application/json", {}};
  }

  std::string open(const Usage& usage) override {
    usage_ = usage;
    std::string out = event("response.created", {{"response", response("in_progress")}});
    return out += event("response.in_progress", {{"response", response("in_progress")}});
  }

  std::string piece(const Choice& news) override {
    std::string out;
    for (const AnswerEvent& one : news.events) {
      out += take(one);
      if (one.kind == AnswerEvent::Kind::kCall) {
        said_.push_back(one);
      } else {
        add(said_, one.kind, one.text);
      }
    }
    if (news.finish != FinishReason::kNone) finish_ = news.finish;
    return out;
  }

  std::string close(const Usage& usage) override {
    usage_ = usage;
    std::string out = close_item();
    const Json whole = response(status());
    done_(to_text(whole), said_);
    return out + event(finish_ == FinishReason::kLength ? "response.incomplete" : "response.completed",
                       {{"response", whole}});
  }

  std::string failure(const http::ApiError& error) override {
    std::string out = close_item();
    Json whole = response("failed");
    whole["error"] = {{"code", "server_error"}, {"message", error.message}};
    return out + event("response.failed", {{"response", std::move(whole)}});
  }

 private:
  std::string event(const char* type, const Json& members) {
    Json json = {{"type", type}, {"sequence_number", sequence_++}};
    json.update(members);
    return std::string("event: ") + type + "\ndata: " + to_text(json) + "\n\n";
  }

  std::string take(const AnswerEvent& one) {
    const bool continues = item_ && (one.kind == kind_ || one.kind == AnswerEvent::Kind::kArguments);
    std::string out;
    if (!continues || one.kind == AnswerEvent::Kind::kCall) {
      out = close_item();  // not in one expression: its order would be the compiler's
      out += open_item(one);
    }
    if (one.kind == AnswerEvent::Kind::kCall) return out;
    Json delta = place();
    delta["delta"] = one.text;
    text_ += one.text;
    if (one.kind == AnswerEvent::Kind::kContent) delta["logprobs"] = Json::array();
    return out + event(name("delta"), std::move(delta));
  }

  // The type of an event about the open item: of its text, its reasoning or its arguments.
  const char* name(std::string_view what) const {
    const bool delta = what == "delta";
    switch (kind_) {
      case AnswerEvent::Kind::kContent: return delta ? "response.output_text.delta" : "response.output_text.done";
      case AnswerEvent::Kind::kReasoning:
        return delta ? "response.reasoning_text.delta" : "response.reasoning_text.done";
      default: return delta ? "response.function_call_arguments.delta" : "response.function_call_arguments.done";
    }
  }

  bool is_call() const { return kind_ == AnswerEvent::Kind::kCall; }

  // What events about a part of the open item begin with.
  Json place() const {
    Json json = {{"item_id", current_["id"]}, {"output_index", output_.size()}};
    if (!is_call()) json["content_index"] = 0;
    return json;
  }

  Json part() const {
    if (kind_ == AnswerEvent::Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text_}};
    return {{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
  }

  std::string open_item(const AnswerEvent& one) {
    item_ = true;
    kind_ = one.kind;
    text_.clear();
    switch (kind_) {
      case AnswerEvent::Kind::kContent:
        current_ = {{"id", random_id("msg_")},
                    {"type", "message"},
                    {"status", "in_progress"},
                    {"role", "assistant"},
                    {"content", Json::array()}};
        break;
      case AnswerEvent::Kind::kReasoning:
        current_ = {{"id", random_id("rs_")},
                    {"type", "reasoning"},
                    {"summary", Json::array()},
                    {"content", Json::array()},
                    {"status", "in_progress"}};
        break;
      default:
        current_ = {{"id", random_id("fc_")}, {"type", "function_call"}, {"status", "in_progress"},
                    {"call_id", one.id},      {"name", one.text},        {"arguments", ""}};
    }
    std::string out = event("response.output_item.added", {{"output_index", output_.size()}, {"item", current_}});
    if (is_call()) return out;
    Json added = place();
    added["part"] = part();
    return out + event("response.content_part.added", std::move(added));
  }

  std::string close_item() {
    if (!item_) return {};
    item_ = false;
    Json done = place();
    if (is_call()) {
      current_["arguments"] = text_;
      done["name"] = current_["name"];
      done["arguments"] = text_;
    } else {
      current_["content"].push_back(part());
      done["text"] = text_;
      if (kind_ == AnswerEvent::Kind::kContent) done["logprobs"] = Json::array();
    }
    std::string out = event(name("done"), std::move(done));
    if (!is_call()) {
      Json ended = place();
      ended["part"] = part();
      out += event("response.content_part.done", std::move(ended));
    }
    current_["status"] = finish_ == FinishReason::kLength ? "incomplete" : "completed";
    out += event("response.output_item.done", {{"output_index", output_.size()}, {"item", current_}});
    output_.push_back(std::move(current_));
    return out;
  }

  const char* status() const { return finish_ == FinishReason::kLength ? "incomplete" : "completed"; }

  Json response(const char* status) const {
    Json json = {{"id", head_.id},       {"object", "response"}, {"created_at", head_.created},
                 {"status", status},     {"error", nullptr},     {"incomplete_details", nullptr},
                 {"model", head_.model}, {"output", output_}};
    if (finish_ == FinishReason::kLength) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    json.update(head_.repeated);
    if (std::string_view(status) == "in_progress") return json;
    json["usage"] = {{"input_tokens", usage_.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage_.cached_tokens}, {"cache_write_tokens", 0}}},
                     {"output_tokens", usage_.completion_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", usage_.reasoning_tokens}}},
                     {"total_tokens", usage_.prompt_tokens + usage_.completion_tokens}};
    return json;
  }

  const ResponsesHead head_;
  const ResponseDone done_;
  Json output_ = Json::array();  // items that are complete
  bool item_ = false;            // one is open: current_, of kind_, with text_ so far
  Json current_;
  AnswerEvent::Kind kind_ = AnswerEvent::Kind::kContent;
  std::string text_;
  chat::AnswerEvents said_;
  FinishReason finish_ = FinishReason::kNone;
  Usage usage_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<serving::Shape> make_responses_shape(ResponsesHead head, ResponseDone done) {
  return std::make_unique<ResponsesShape>(std::move(head), std::move(done));
}

}  // namespace nacelle::openai
