// One request for embeddings in any dialect: its prompts run in the engine side by side.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/http/exchange.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::serving {

struct EmbeddingPlan {
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::uint32_t> second_texts;  // where in each prompt the second of two texts begins; empty: none has two
  bool normalize = true;                    // to length 1
  bool mean = false;                        // pooling, of decoders
  std::string field = "input";              // that the prompts came in
  http::ErrorShape error_shape = http::error_response;
  // On the server's I/O thread: one vector a prompt, in their order.
  std::function<http::Response(const std::vector<std::vector<float>>& vectors, const Usage& usage)> respond;
};

// [any thread] Answers through `exchange`. A vector is a decoder's last hidden row of its prompt, after the last norm
// (pooling "last"), or the mean of all, or what an encoder gives.
void start_embedding(const http::ExchangePtr& exchange, openai::ServedModelPtr model, EmbeddingPlan plan);

}  // namespace nacelle::serving
