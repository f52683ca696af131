// Every route that a client of any dialect may use.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::serving {

// `models` must outlive the server that has the routes.
std::vector<http::Route> inference_routes(const openai::ServedModels& models);

}  // namespace nacelle::serving
