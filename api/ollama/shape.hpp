// The JSON of Ollama's answers: one object, or a stream of them a line each; and failures.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "api/serving/generation.hpp"

namespace nacelle::ollama {

using Clock = std::chrono::steady_clock;

// What is left of a request once its prompt is made.
struct AnswerHead {
  std::string model;  // as the client wrote it
  bool chat = true;   // else the text is "response" instead of a message
  bool logprobs = false;
  bool context = false;                      // the last object has the tokens of prompt and answer
  std::vector<TokenId> prompt = {};          // with `context`
  Clock::time_point begin = {}, found = {};  // of the request, and when it had its model
};

// The tokenizer spells log-probabilities and must outlive the shape; without those it may be null.
std::unique_ptr<serving::Shape> make_shape(AnswerHead head, const Tokenizer* tokenizer);

// The only object of an answer without text: `reason` is "load" or "pull".
fields::Json empty_answer(const AnswerHead& head, const char* reason);

// Integers, as all of Ollama's durations.
std::int64_t nanoseconds(Clock::time_point begin, Clock::time_point end);

// "2026-01-31T12:00:00.000000000Z".
std::string rfc3339(std::chrono::system_clock::time_point time);

// {"error": message}, with the status.
http::Response error_response(const http::ApiError& error, std::string_view request_id = {});

}  // namespace nacelle::ollama
