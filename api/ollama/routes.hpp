// Ollama's API, below /api/.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::ollama {

// The version of Ollama whose API this is: clients look at it to know what they may send.
inline constexpr const char* kApiVersion = "0.33.0";

// `models` must outlive the server that has the routes.
std::vector<http::Route> inference_routes(const openai::ServedModels& models);

}  // namespace nacelle::ollama
