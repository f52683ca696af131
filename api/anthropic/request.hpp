// The body of POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include <optional>
#include <string_view>

#include "api/openai/request.hpp"

namespace nacelle::anthropic {

struct MessagesBody {
  std::string model;
  openai::ChatPrompt prompt;                            // a last message of the assistant's is its prefill
  GenerationRequest request;                            // all but id, prompt and grammar
  std::optional<constrain::ConstraintSpec> constraint;  // output_config.format
  bool stream = false;
  bool omit_thinking = false;  // thinking.display
};

// Throws RequestError(400) that names the field. Supported are text, tool_use, tool_result (of text and references to
// tools), thinking and redacted_thinking blocks; cache_control is accepted, since prefixes are cached anyway.
// thinking.budget_tokens is checked and sets no limit. The prompt has no deferred tool but those that a result loads.
MessagesBody parse_messages(std::string_view body);
// As above, of a body without max_tokens and what else belongs to an answer.
MessagesBody parse_count_tokens(std::string_view body);

}  // namespace nacelle::anthropic
