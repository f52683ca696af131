// The JSON of POST /v1/responses: a response, or the stream of events that builds it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/openai/names.hpp"
#include "api/serving/generation.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::openai {

struct ResponsesHead {
  std::string id, model;
  std::int64_t created = 0;  // Unix seconds
  Json repeated;             // of the request
  bool background = false;   // it is queued before it is in progress
};

// A response that is over, "completed", "incomplete", "failed" or "cancelled": its JSON, the text of that, and what the
// model said.
struct EndedResponse {
  const Json& json;
  const std::string& text;
  const chat::AnswerEvents& said;
};

class ResponsesShape : public serving::Shape {
 public:
  virtual const char* status() const = 0;
  // The response's JSON as it is now.
  virtual std::string snapshot() const = 0;
  // Nothing follows: it ends as "cancelled", with what there is of it. A stream has no event for that.
  virtual void cancel() = 0;
};

// `done` is called once, before the client gets the last of it. `tokenizer`: of log-probabilities, which the text's
// parts then have; it must outlive all calls of piece(). Null: none were asked for.
using ResponseDone = std::function<void(const EndedResponse&)>;
std::shared_ptr<ResponsesShape> make_responses_shape(ResponsesHead head, const Tokenizer* tokenizer, ResponseDone done);

}  // namespace nacelle::openai
