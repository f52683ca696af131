// Bodies of Ollama's routes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/openai/request.hpp"

namespace nacelle::ollama {

// Whether the model is to think before it answers; a level means yes.
struct Think {
  bool on = false;
  std::string level;  // "low", "medium", "high", "max"; empty: as the template likes
};

// What POST /api/chat and /api/generate have in common.
struct AnswerBody {
  std::string model;
  GenerationRequest request;                            // all but id, prompt and grammar; with Ollama's defaults
  std::optional<constrain::ConstraintSpec> constraint;  // `format`
  std::optional<Think> think;
  bool stream = true;        // Ollama's
  bool truncate = true;      // Ollama's: a chat that is too long loses its first turns
  bool unload = false;       // keep_alive is 0
  std::int64_t context = 0;  // options.num_ctx; 0: not said
};

struct ChatBody : AnswerBody {
  openai::ChatPrompt
      prompt;  // no messages: the model is to be loaded. A last message of the assistant's is its prefill
};

struct GenerateBody : AnswerBody {
  std::string prompt, suffix;  // no prompt: the model is to be loaded
  std::string system;
  std::vector<TokenId> before;  // `context`
  bool raw = false;             // the prompt is the whole text: no chat template
};

struct EmbedBody {
  std::string model;
  std::vector<std::string> inputs;  // none: the model is to be loaded
  bool truncate = true;             // an input that is too long loses its end
  std::uint32_t dimensions = 0;     // of the vectors that are wanted; 0: all
  bool unload = false;
  std::int64_t context = 0;
};

struct ShowBody {
  std::string model;
  bool verbose = false;
};

struct PullBody {
  std::string model;
  bool stream = true;
};

// Each throws RequestError(400) that names the field. What speaks only of how a model is loaded (options.num_gpu and
// the like, keep_alive) is checked and has no effect; docs/api.md lists it.
ChatBody parse_chat(std::string_view body);
GenerateBody parse_generate(std::string_view body);
EmbedBody parse_embed(std::string_view body);       // POST /api/embed
EmbedBody parse_embeddings(std::string_view body);  // POST /api/embeddings, the older one: one input, `prompt`
ShowBody parse_show(std::string_view body);
PullBody parse_pull(std::string_view body);

// `messages` of a chat, in the form that templates expect. Calls without an id get one, and results that name none are
// those of the calls before them, in their order.
fields::Json read_messages(const std::string& name, const fields::Json& value);

// Throws RequestError(400) where there are some.
void refuse_images(const std::string& name, const fields::Json& value);

}  // namespace nacelle::ollama
