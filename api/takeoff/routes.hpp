// Titan Takeoff's inference routes: POST /generate, /generate_stream and /embed.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::takeoff {

// `models` must outlive the server that has the routes.
std::vector<http::Route> inference_routes(const openai::ServedModels& models);

}  // namespace nacelle::takeoff
