// KServe's open inference protocol, v2: metadata and readiness of the server and of models. Its health routes are with
// the other probes.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::kserve {

// GET /v2, /v2/models/{name} and /v2/models/{name}/ready. `models` must outlive the server that has the routes.
std::vector<http::Route> metadata_routes(const openai::ServedModels& models);

}  // namespace nacelle::kserve
