#include "api/serving/routes.hpp"

#include <iterator>
#include <utility>

#include "api/anthropic/routes.hpp"
#include "api/kserve/routes.hpp"
#include "api/ollama/routes.hpp"
#include "api/openai/routes.hpp"
#include "api/takeoff/routes.hpp"

namespace nacelle::serving {

std::vector<http::Route> inference_routes(const openai::ServedModels& models) {
  std::vector<http::Route> all;
  for (auto* dialect :
       {openai::inference_routes, openai::response_routes, openai::embedding_routes, kserve::metadata_routes,
        anthropic::inference_routes, ollama::inference_routes, takeoff::inference_routes}) {
    std::vector<http::Route> routes = dialect(models);
    std::move(routes.begin(), routes.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace nacelle::serving
