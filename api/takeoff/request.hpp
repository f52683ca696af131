// The body of Titan Takeoff's POST /generate, /generate_stream and /embed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/constrain/constraint.hpp"
#include "core/engine/request.hpp"

namespace nacelle::takeoff {

struct GenerateBody {
  std::vector<std::string> texts;          // at least one
  bool list = false;                       // they came in a list, and so do the answers
  std::string consumer_group = "primary";  // a model's name; "primary": the first
  std::string lora;                        // an adapter of the group's model; empty: none
  GenerationRequest request;               // all but id, prompt and grammar
  std::optional<constrain::ConstraintSpec> constraint;
};

struct EmbedBody {
  std::vector<std::string> texts;
  bool list = false;
  std::string consumer_group = "primary";
};

// Throws RequestError(400) that names the field.
EmbedBody parse_embed(std::string_view body);
// Throws RequestError(400) that names the field. Not supported yet: no_repeat_ngram_size and
// prompt_max_tokens.
GenerateBody parse_generate(std::string_view body);

}  // namespace nacelle::takeoff
