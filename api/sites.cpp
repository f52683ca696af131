#include "api/sites.hpp"

#include <initializer_list>
#include <utility>
#include <vector>

#include "api/manage/health.hpp"
#include "api/manage/openapi.hpp"
#include "api/manage/routes.hpp"
#include "api/openai/routes.hpp"
#include "api/serving/routes.hpp"
#include "api/takeoff/reader_routes.hpp"

namespace nacelle {
namespace {

http::Router join(std::initializer_list<std::vector<http::Route>> parts) {
  std::vector<http::Route> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  all.push_back(manage::openapi_route(all));
  return http::Router(std::move(all));
}

}  // namespace

http::Router public_site(const SiteParts& parts) {
  return join({manage::health_routes(parts.models), openai::model_routes(parts.models),
               serving::inference_routes(parts.models), metrics::metrics_routes(parts.metrics),
               ui::chat_routes(parts.listeners)});
}

http::Router manage_site(const SiteParts& parts) {
  return join({manage::health_routes(parts.models), openai::model_routes(parts.models),
               manage::manage_routes(parts.models, parts.manager, parts.host),
               takeoff::reader_routes(parts.models, parts.manager), metrics::metrics_routes(parts.metrics),
               ui::operate_routes(parts.listeners)});
}

}  // namespace nacelle
