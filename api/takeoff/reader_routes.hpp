// Titan Takeoff's management of readers, for the management listener.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/manage/model_manager.hpp"

namespace nacelle::takeoff {

// POST /reader, GET /reader_groups, GET, DELETE and POST (to move) /reader/{id}. Both must outlive the server.
std::vector<http::Route> reader_routes(const openai::ServedModels& models, manage::ModelManager& manager);

}  // namespace nacelle::takeoff
