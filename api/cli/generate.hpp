// One request in this process: submit, and wait for its end.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/engine.hpp"

namespace nacelle::cli {

struct Generated {
  std::string text;
  std::vector<TokenId> ids;
  FinishReason finish = FinishReason::kNone;
  Usage usage;
  std::chrono::steady_clock::time_point submitted, first_token, last_token;
  std::vector<std::chrono::steady_clock::duration> gaps;  // from each delivery of tokens to the next
};

// `on_text` runs on the calling thread as text arrives. `stop` is asked twenty times a second and ends the answer when
// it says true. Either may be empty. Throws Error(kInternal) where the engine fails.
Generated generate(Engine& engine, GenerationRequest request, const std::function<void(std::string_view)>& on_text = {},
                   const std::function<bool()>& stop = {});

// The same for many requests at once.
std::vector<Generated> generate_all(Engine& engine, std::vector<GenerationRequest> requests);

}  // namespace nacelle::cli
