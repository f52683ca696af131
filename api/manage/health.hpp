// Probes and the version: the truth for whoever decides where requests go.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::manage {

// /livez: 200 while the process can answer. /readyz: 200 only when a model can serve, else 503 with the reason.
// KServe's /v2/health/live and /v2/health/ready say the same. /version. `models` must outlive the server.
std::vector<http::Route> health_routes(const openai::ServedModels& models);

}  // namespace nacelle::manage
