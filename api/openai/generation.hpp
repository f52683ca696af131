// One request for text: its choices run in the engine side by side and are put together into one answer or one stream.
#pragma once

#include <string>
#include <vector>

#include "api/http/exchange.hpp"
#include "api/openai/request.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::openai {

struct GenerationPlan {
  bool chat = true;
  GenerationBody body;
  std::vector<std::vector<TokenId>> prompts;  // each answered body.n times
  std::vector<std::string> echoes;            // texts that the answers begin with; empty, or one a prompt
};

// [any thread] Answers through `exchange`, from the server's I/O thread. A client that leaves cancels its choices.
void start_generation(const http::ExchangePtr& exchange, ServedModelPtr model, GenerationPlan plan);

}  // namespace nacelle::openai
