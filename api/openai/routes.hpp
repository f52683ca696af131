// The OpenAI routes, and /tokenize and /detokenize beside them.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::openai {

// `models` must outlive the server that has the routes.
std::vector<http::Route> inference_routes(const ServedModels& models);

// /v1/responses and /v1/conversations, with all below them. What is kept lives as long as the routes.
std::vector<http::Route> response_routes(const ServedModels& models);

// POST /v1/embeddings and /v1/rerank.
std::vector<http::Route> embedding_routes(const ServedModels& models);

// GET /v1/models and /v1/models/{id}.
std::vector<http::Route> model_routes(const ServedModels& models);

}  // namespace nacelle::openai
