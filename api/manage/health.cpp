#include "api/manage/health.hpp"

#include <string>

#include "api/version.hpp"

namespace nacelle::manage {
namespace {

using http::Request;
using http::Response;
using State = openai::ServedModels::State;

Response live(const openai::ServedModels&) { return {200, R"({"status": "live"})", "application/json", {}}; }

Response ready(const openai::ServedModels& models) {
  switch (models.state()) {
    case State::kReady: return {200, R"({"status": "ready"})", "application/json", {}};
    case State::kLoading: return {503, R"({"status": "loading"})", "application/json", {}};
    case State::kLost: return {503, R"({"status": "device lost"})", "application/json", {}};
    case State::kEmpty: return {503, R"({"status": "no model"})", "application/json", {}};
    case State::kDraining: break;
  }
  return {503, R"({"status": "draining"})", "application/json", {}};
}

Response version_of(const openai::ServedModels&) {
  return {200, std::string(R"({"version": ")") + nacelle::version() + R"("})", "application/json", {}};
}

}  // namespace

std::vector<http::Route> health_routes(const openai::ServedModels& models) {
  const auto get = [&models](const char* path, Response (*make)(const openai::ServedModels&)) -> http::Route {
    return {"GET", path, http::answer([&models, make](const Request&) { return make(models); }), http::Where::kIoThread,
            http::Access::kOpen};
  };
  return {
      get("/livez", live),         get("/readyz", ready), get("/v2/health/live", live), get("/v2/health/ready", ready),
      get("/version", version_of),
  };
}

}  // namespace nacelle::manage
