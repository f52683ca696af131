// `options` and `keep_alive` of Ollama's requests: what sampling is made of, and what speaks of loading alone.
#pragma once

#include <optional>
#include <string>

#include "api/fields/fields.hpp"
#include "core/engine/request.hpp"

namespace nacelle::ollama {

struct Options {
  GenerationRequest request;           // sampling, stop, max_tokens and prompt_only
  std::optional<std::int64_t> last_n;  // repeat_last_n
  std::int64_t context = 0;            // num_ctx; 0: not said
};

// A request with Ollama's defaults.
GenerationRequest default_request();

// Throws RequestError(400) that names the option ("options.top_k").
Options read_options(const std::string& name, const fields::Json& value);

// Whether it is 0, which in Ollama unloads the model: seconds, or a duration as Go writes it ("5m"); below 0: for ever.
bool keeps_nothing(const std::string& name, const fields::Json& value);

}  // namespace nacelle::ollama
