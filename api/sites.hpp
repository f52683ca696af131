// Which routes stand on which listener.
#pragma once

#include "api/http/router.hpp"
#include "api/manage/model_manager.hpp"
#include "api/metrics/metrics.hpp"
#include "api/openai/served_models.hpp"
#include "api/ui/routes.hpp"

namespace nacelle {

// What handlers refer to; all of it must outlive the server.
struct SiteParts {
  const openai::ServedModels& models;
  manage::ModelManager& manager;
  const metrics::Metrics& metrics;
  const PluginHost& host;
  const ui::Listeners& listeners;
};

// For everybody: the chat page, inference, models, probes, metrics, /openapi.json.
http::Router public_site(const SiteParts& parts);
// For operators: their page, /manage/..., models, probes, metrics, /openapi.json.
http::Router manage_site(const SiteParts& parts);

}  // namespace nacelle
