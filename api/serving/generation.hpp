// One request for text in any dialect: its choices run in the engine side by side, their text is read by the model's
// answer format, and a Shape makes the dialect's answer or stream of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat/dialects.hpp"
#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::serving {

// One answer, or what is new of it since the last piece of a stream.
struct Choice {
  std::uint32_t index = 0;
  chat::AnswerEvents events;  // every kCall has an id
  std::vector<TokenLogprob> logprobs;
  FinishReason finish = FinishReason::kNone;
  std::string stop;                                // the stop string that ended it
  Usage usage;                                     // so far
  std::vector<TokenLogprob> prompt_logprobs = {};  // see GenerationEvent
  std::vector<TokenId> ids = {};                   // where GenerationPlan::wants_ids
};

// A dialect's JSON, for one request. It belongs to what is posted to the exchange.
class Shape {
 public:
  virtual ~Shape() = default;

  virtual const char* stream_type() const { return "text/event-stream; charset=utf-8"; }

  virtual http::Response whole(const std::vector<Choice>& choices, const Usage& usage) = 0;
  // Whether whole() wants to be told before by piece(), as in a stream; what that returns is dropped, and the choices
  // of whole() then have no events or log-probabilities.
  virtual bool in_pieces() const { return false; }

  // The bytes of a stream. open() comes with the first token, or once the engine has taken the request (open_at_once):
  // until then a failure can have a status of its own, where no keep_alive() has gone before it; else it is
  // failure()'s.
  virtual std::string open(const Usage& usage) = 0;
  virtual std::string piece(const Choice& news) = 0;
  // Appends to `out` what piece() gives for some content and nothing else, as nearly all pieces are; false where only
  // that knows how.
  virtual bool add_text(std::uint32_t, std::string_view, std::string&) { return false; }
  virtual std::string close(const Usage& usage) = 0;
  virtual std::string failure(const http::ApiError& error) = 0;
  // Where nothing was sent for long, also before open().
  virtual std::string keep_alive() const { return std::string(http::kKeepAlive); }

  virtual http::Response error(const http::ApiError& error) { return http::error_response(error); }
};

struct GenerationPlan {
  GenerationRequest request;                  // all but id and prompt
  std::string id;                             // of the answer
  std::vector<std::vector<TokenId>> prompts;  // each answered n times
  // Texts that the answers begin with; empty, or one a prompt. They come together with prompt_logprobs where those are
  // asked for.
  std::vector<std::string> echoes;
  std::uint32_t n = 1;
  std::uint32_t best_of = 1;  // candidates for a prompt's n answers, at least n; the likeliest are kept
  bool stream = false;        // not with best_of above n
  bool open_at_once = false;  // of a stream: see Shape
  bool wants_ids = false;     // the shape is told the answer's tokens
  chat::AnswerFormat format;
  bool parallel_calls = true;         // false: the answer ends before a second call
  std::string call_prefix = "call_";  // of the ids of calls
  std::shared_ptr<Shape> shape;
};

// What an engine's kError is to a client.
http::ApiError engine_error(const GenerationEvent& event);

// [any thread] Answers through `exchange`, from the server's I/O thread. A client that leaves cancels its choices.
void start_generation(const http::ExchangePtr& exchange, openai::ServedModelPtr model, GenerationPlan plan);

}  // namespace nacelle::serving
