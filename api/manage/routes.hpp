// The routes of the management listener: models, devices, plugins, kernels. docs/operating.md shows their JSON.
#pragma once

#include <vector>

#include "api/http/router.hpp"
#include "api/manage/model_manager.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::manage {

// How a change that failed is told.
http::ApiError change_error(const Error& error);

// GET /manage/models, POST /manage/models/load, unload and move, GET /manage/devices, /manage/plugins and
// /manage/kernels/{model}. All three must outlive the server.
std::vector<http::Route> manage_routes(const openai::ServedModels& models, ModelManager& manager,
                                       const PluginHost& host);

}  // namespace nacelle::manage
