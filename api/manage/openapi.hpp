// /openapi.json: api/openapi.json, cut down to the routes of the listener that is asked.
#pragma once

#include <string>
#include <vector>

#include "api/fields/json.hpp"
#include "api/http/router.hpp"

namespace nacelle::manage {

// The whole description, of all listeners.
const fields::Json& openapi_document();

// "GET /v1/models" of each operation that is described.
std::vector<std::string> described_operations();

// Answers with what describes `others` and itself.
http::Route openapi_route(const std::vector<http::Route>& others);

}  // namespace nacelle::manage
