// The JSON of answers: chat.completion, chat.completion.chunk and text_completion.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/openai/request.hpp"
#include "api/serving/generation.hpp"

namespace nacelle::openai {

// What every part of an answer repeats.
struct AnswerHead {
  bool chat = true;
  bool stream = false;
  bool include_usage = false;  // of a stream: its chunks say "usage": null until the last
  std::string id, model, fingerprint;
  std::int64_t created = 0;  // Unix seconds
};

struct ShapeOptions {
  AnswerHead head;
  bool logprobs = false;
  std::uint32_t choices = 1;                          // to all prompts together
  std::vector<std::string> echoes;                    // see GenerationPlan
  std::uint32_t choices_a_prompt = 1;                 // to find a choice's echo
  bool functions = false;                             // a call is told in the deprecated form
  std::uint32_t echoed_top = 0;                       // alternatives of an echoed prompt's tokens, with logprobs
  std::optional<std::uint32_t> prompt_logprobs = {};  // alternatives of a prompt's tokens in vLLM's form
};

// `tokenizer` must outlive the shape; it may be null where no logprobs are asked for.
std::unique_ptr<serving::Shape> make_shape(ShapeOptions options, const Tokenizer* tokenizer);

// A head for an answer of this model, now.
AnswerHead make_head(const ServedModel& model, const GenerationBody& body, bool chat);

Json usage_json(const Usage& usage);

}  // namespace nacelle::openai
