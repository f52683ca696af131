// POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::anthropic {

// `models` must outlive the server that has the routes.
std::vector<http::Route> inference_routes(const openai::ServedModels& models);

}  // namespace nacelle::anthropic
