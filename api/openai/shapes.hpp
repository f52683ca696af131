// The JSON of answers: chat.completion, chat.completion.chunk and text_completion.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/openai/json.hpp"
#include "core/engine/request.hpp"

namespace nacelle::openai {

// What every part of an answer repeats.
struct AnswerHead {
  bool chat = true;
  bool stream = false;
  bool include_usage = false;  // of a stream: its chunks say "usage": null until the last
  std::string id, model, fingerprint;
  std::int64_t created = 0;  // Unix seconds
};

// A whole choice, or a piece of one in a stream.
struct ChoicePart {
  std::uint32_t index = 0;
  std::string text;
  Json logprobs;  // null: not asked for
  FinishReason finish = FinishReason::kNone;
};

std::string whole_answer(const AnswerHead& head, const std::vector<ChoicePart>& choices, const Usage& usage);

// The chunk that opens a choice of a streamed chat: the role.
std::string role_chunk(const AnswerHead& head, std::uint32_t index);
std::string chunk(const AnswerHead& head, const ChoicePart& part);
// The last chunk where include_usage is set: no choices.
std::string usage_chunk(const AnswerHead& head, const Usage& usage);

}  // namespace nacelle::openai
