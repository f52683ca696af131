// The JSON of POST /v1/responses: a response, or the stream of events that builds it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/openai/json.hpp"
#include "api/serving/generation.hpp"

namespace nacelle::openai {

struct ResponsesHead {
  std::string id, model;
  std::int64_t created = 0;  // Unix seconds
  Json repeated;             // of the request
};

// `done` gets the complete response's JSON and what the model said, before the client gets the last of it.
using ResponseDone = std::function<void(const std::string& json, const chat::AnswerEvents& events)>;
std::unique_ptr<serving::Shape> make_responses_shape(ResponsesHead head, ResponseDone done);

}  // namespace nacelle::openai
