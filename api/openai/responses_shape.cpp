#include "api/openai/responses_shape.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "api/openai/logprobs.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::openai {
namespace {

using chat::AnswerEvent;
using serving::Choice;

// Builds the output items from a choice's events, and the stream's events beside them.
class Responses final : public ResponsesShape {
 public:
  Responses(ResponsesHead head, const Tokenizer* tokenizer, ResponseDone done)
      : head_(std::move(head)), done_(std::move(done)) {
    if (tokenizer) logprobs_.emplace(*tokenizer, LogprobList::Shape::kChat);
  }

  http::Response whole(const std::vector<Choice>& choices, const Usage& usage) override {
    piece(choices.front());
    close_item();
    usage_ = usage;
    return {200, end(finished_status()).second, "application/json", {}};
  }

  bool in_pieces() const override { return logprobs_.has_value(); }

  std::string open(const Usage& usage) override {
    usage_ = usage;
    status_ = head_.background ? "queued" : "in_progress";
    std::string out = event("response.created", {{"response", response()}});
    return out += event(head_.background ? "response.queued" : "response.in_progress", {{"response", response()}});
  }

  std::string piece(const Choice& news) override {
    std::string out;
    if (std::string_view(status_) == "queued") {
      status_ = "in_progress";
      out += event("response.in_progress", {{"response", response()}});
    }
    usage_ = news.usage;
    take_logprobs(news);
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
    const bool cut = finish_ == FinishReason::kLength;
    return out +=
           event(cut ? "response.incomplete" : "response.completed", {{"response", end(finished_status()).first}});
  }

  std::string failure(const http::ApiError& error) override {
    cut_ = true;
    std::string out = close_item();
    const char* code = error.status == 429  ? "rate_limit_exceeded"
                       : error.status < 500 ? "invalid_prompt"  // trying again is of no use
                                            : "server_error";
    error_ = {{"code", code}, {"message", error.message}};
    return out += event("response.failed", {{"response", end("failed").first}});
  }

  const char* status() const override { return status_; }

  std::string snapshot() const override {
    Json json = response();
    if (item_) json["output"].push_back(open_one());
    return to_text(json);
  }

  void cancel() override {
    cut_ = true;
    close_item();
    end("cancelled");
  }

 private:
  std::pair<Json, std::string> end(const char* status) {
    status_ = status;
    std::pair<Json, std::string> ended{response(), ""};
    ended.second = to_text(ended.first);
    done_({ended.first, ended.second, said_});
    return ended;
  }

  // Those of the tokens that the news' content is made of: the last ones, as it may have waited for some. Those before
  // them are marks, or of reasoning or a call.
  void take_logprobs(const Choice& news) {
    if (!logprobs_) return;
    waiting_.insert(waiting_.end(), news.logprobs.begin(), news.logprobs.end());
    if (news.events.empty()) return;
    std::size_t bytes = chat::joined(news.events, AnswerEvent::Kind::kContent).size();
    auto first = waiting_.end();
    while (bytes > 0 && first != waiting_.begin()) {
      --first;
      bytes -= std::min(bytes, logprobs_->token_bytes(*first));
    }
    for (; first != waiting_.end(); ++first) logprobs_->add(*first);
    waiting_.clear();
    fresh_ = std::move(logprobs_->take()["content"]);
  }

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
    if (one.kind == AnswerEvent::Kind::kContent) {
      shown_.insert(shown_.end(), fresh_.begin(), fresh_.end());
      delta["logprobs"] = std::exchange(fresh_, Json::array());
    }
    return out + event(name("delta"), delta);
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
    return {{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}, {"logprobs", shown_}};
  }

  // The open item with what it has so far.
  Json open_one() const {
    Json item = current_;
    if (is_call()) {
      item["arguments"] = text_;
    } else {
      item["content"].push_back(part());
    }
    return item;
  }

  std::string open_item(const AnswerEvent& one) {
    item_ = true;
    kind_ = one.kind;
    text_.clear();
    shown_ = Json::array();
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
    return out + event("response.content_part.added", added);
  }

  std::string close_item() {
    if (!item_) return {};
    item_ = false;
    Json done = place();
    current_ = open_one();
    if (is_call()) {
      done["name"] = current_["name"];
      done["arguments"] = text_;
    } else {
      done["text"] = text_;
      if (kind_ == AnswerEvent::Kind::kContent) done["logprobs"] = shown_;
    }
    std::string out = event(name("done"), done);
    if (!is_call()) {
      Json ended = place();
      ended["part"] = part();
      out += event("response.content_part.done", ended);
    }
    current_["status"] = cut_ || finish_ == FinishReason::kLength ? "incomplete" : "completed";
    out += event("response.output_item.done", {{"output_index", output_.size()}, {"item", current_}});
    output_.push_back(std::move(current_));
    return out;
  }

  const char* finished_status() const { return finish_ == FinishReason::kLength ? "incomplete" : "completed"; }

  Json response() const {
    const std::string_view status = status_;
    Json json = {{"id", head_.id},       {"object", "response"}, {"created_at", head_.created},
                 {"status", status},     {"error", error_},      {"incomplete_details", nullptr},
                 {"model", head_.model}, {"output", output_}};
    if (status == "incomplete") json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    json.update(head_.repeated);
    if (status == "queued" || status == "in_progress") return json;
    json["usage"] = {{"input_tokens", usage_.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage_.cached_tokens}, {"cache_write_tokens", 0}}},
                     {"output_tokens", usage_.completion_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", usage_.reasoning_tokens}}},
                     {"total_tokens", usage_.prompt_tokens + usage_.completion_tokens}};
    return json;
  }

  const ResponsesHead head_;
  const ResponseDone done_;
  const char* status_ = "in_progress";
  Json error_;
  bool cut_ = false;             // failed or cancelled: the open item is incomplete
  Json output_ = Json::array();  // items that are complete
  bool item_ = false;            // one is open: current_, of kind_, with text_ so far
  Json current_;
  AnswerEvent::Kind kind_ = AnswerEvent::Kind::kContent;
  std::string text_;
  std::optional<LogprobList> logprobs_;
  std::vector<TokenLogprob> waiting_;                   // whose text did not come yet
  Json fresh_ = Json::array(), shown_ = Json::array();  // log-probabilities: of the next delta, of text_
  chat::AnswerEvents said_;
  FinishReason finish_ = FinishReason::kNone;
  Usage usage_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

std::shared_ptr<ResponsesShape> make_responses_shape(ResponsesHead head, const Tokenizer* tokenizer,
                                                     ResponseDone done) {
  return std::make_shared<Responses>(std::move(head), tokenizer, std::move(done));
}

}  // namespace nacelle::openai
