#include "api/manage/routes.hpp"

#include <utility>

#include "api/manage/inventory.hpp"
#include "api/openai/fields.hpp"

namespace nacelle::manage {
namespace {

using http::ExchangePtr;
using openai::Fields;
using openai::ServedModel;
using openai::ServedModels;

http::Response json_answer(const Json& json, int status = 200) {
  return {status, openai::to_text(json), "application/json", {}};
}

Json describe_model(const ServedModel& served) {
  const EngineStats stats = served.engine.stats();
  Json placement = Json::array();
  for (const Placement& part : served.model->placement())
    placement.push_back({{"device", part.device}, {"layers", part.layers}});
  return {{"name", served.name()},
          {"state", served.engine.can_serve() ? "ready" : "lost"},
          {"path", served.source},
          {"architecture", served.model->architecture_plugin()},
          {"placement", std::move(placement)},
          {"context", served.model->context()},
          {"weights_bytes", served.model->weight_bytes()},
          {"kv_cache_bytes", served.model->cache_bytes()},
          {"running", stats.running},
          {"waiting", stats.waiting},
          {"created", served.created}};
}

Json list_models(const ServedModels& models, const ModelManager& manager) {
  Json list = Json::array();
  for (const auto& model : models.list()) list.push_back(describe_model(*model));
  Json changes = Json::array();
  for (const Change& change : manager.changes())
    changes.push_back({{"name", change.name}, {"state", change.state}, {"error", change.error}});
  return {{"models", std::move(list)}, {"changes", std::move(changes)}};
}

struct ChangeBody {
  LoadSpec spec;
  double drain_seconds = 30;
  bool wait = true;
};

// `name` is the field with the model's name.
ChangeBody parse_change(const std::string& text, const char* name, bool loads) {
  using B = ChangeBody;
  constexpr double kLongestDrain = 3600;
  Fields<B> fields = {
      openai::string<B>(name, [](B& b, const std::string& v) { b.spec.name = v; }),
      openai::boolean<B>("wait", [](B& b, bool v) { b.wait = v; }),
  };
  if (loads) fields.push_back(openai::string<B>("path", [](B& b, const std::string& v) { b.spec.path = v; }));
  if (!loads)
    fields.push_back(openai::number<B>("drain_seconds", 0, kLongestDrain, [](B& b, double v) { b.drain_seconds = v; }));
  fields.push_back(openai::string<B>("device", [](B& b, const std::string& v) { b.spec.device = v; }));
  fields.push_back(openai::string<B>("split", [](B& b, const std::string& v) { b.spec.split = v; }));
  const Json json = openai::parse_json(text);
  ChangeBody body;
  openai::read_fields<B>(body, openai::to_object("body", json), fields);
  if (!body.spec.device.empty() && !body.spec.split.empty())
    throw http::RequestError({400, "'device' and 'split' exclude each other", "split", "invalid_value"});
  if (!loads && body.spec.name.empty()) openai::refuse_missing(name);
  return body;
}

std::chrono::milliseconds limit_of(const ChangeBody& body) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(body.drain_seconds * 1000));
}

// A load that lacks memory is no reason to try again soon, and a bad file is the caller's.
http::ApiError change_error(const Error& error) {
  http::ApiError api = http::to_api_error(error);
  if (error.kind() == ErrorKind::kResource) api.status = 507, api.code = "insufficient_memory";
  if (error.kind() == ErrorKind::kCorrupt) api.status = 400, api.code = "corrupt_file";
  return api;
}

// The answer to a change: when it is done, or at once where the caller does not wait.
ModelManager::Done answer_when_done(const ExchangePtr& exchange, const ChangeBody& body, std::function<Json()> result) {
  if (!body.wait) {
    exchange->post([exchange] { exchange->respond(json_answer({{"status", "accepted"}}, 202)); });
    return {};
  }
  return [exchange, result = std::move(result)](const Error* error) {
    http::Response response = error ? http::error_response(change_error(*error)) : json_answer(result());
    exchange->post([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
  };
}

void load(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const ChangeBody body = parse_change(exchange->request().body, "name", true);
  manager.load(body.spec,
               answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); }));
}

void unload(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const ChangeBody body = parse_change(exchange->request().body, "model", false);
  if (!body.spec.device.empty()) openai::refuse_unknown("device");
  if (!body.spec.split.empty()) openai::refuse_unknown("split");
  models.find(body.spec.name);  // a name that nobody has is told at once
  manager.unload(body.spec.name, limit_of(body),
                 answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); }));
}

void move(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const ChangeBody body = parse_change(exchange->request().body, "model", false);
  if (body.spec.device.empty() && body.spec.split.empty()) openai::refuse_missing("device");
  models.find(body.spec.name);
  manager.move(body.spec, limit_of(body),
               answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); }));
}

}  // namespace

std::vector<http::Route> manage_routes(const ServedModels& models, ModelManager& manager, const PluginHost& host) {
  using http::Access;
  using http::Where;
  const auto get = [](const char* pattern, std::function<Json(const http::Request&)> make) -> http::Route {
    return {"GET", pattern,
            http::answer([make = std::move(make)](const http::Request& request) { return json_answer(make(request)); }),
            Where::kWorker, Access::kManage};
  };
  const auto change = [&](const char* pattern,
                          void (*handle)(const ServedModels&, ModelManager&, const ExchangePtr&)) -> http::Route {
    return {"POST", pattern,
            [&models, &manager, handle](const ExchangePtr& exchange) { handle(models, manager, exchange); },
            Where::kWorker, Access::kManage};
  };
  return {
      get("/manage/models", [&](const http::Request&) { return list_models(models, manager); }),
      change("/manage/models/load", load),
      change("/manage/models/unload", unload),
      change("/manage/models/move", move),
      get("/manage/devices",
          [&host](const http::Request&) {
            return Json{{"devices", to_json(host.devices())}};
          }),
      get("/manage/plugins",
          [&host](const http::Request&) {
            return Json{{"plugins", to_json(host.probe_plugins())}};
          }),
      get("/manage/kernels/{model}",
          [&models](const http::Request& request) {
            const openai::ServedModelPtr served = models.find(request.parameter);
            return Json{{"model", served->name()}, {"kernels", to_json(kernels_of(*served->model))}};
          }),
  };
}

}  // namespace nacelle::manage
