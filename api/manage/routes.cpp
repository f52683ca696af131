#include "api/manage/routes.hpp"

#include <algorithm>
#include <utility>

#include "api/fields/fields.hpp"
#include "api/manage/inventory.hpp"

namespace nacelle::manage {
namespace {

using fields::Fields;
using http::ExchangePtr;
using openai::ServedModel;
using openai::ServedModels;

http::Response json_answer(const Json& json, int status = 200) {
  return {status, fields::to_text(json), "application/json", {}};
}

Json describe_model(const ServedModel& served) {
  const EngineStats stats = served.engine.stats();
  Json placement = Json::array();
  for (const Placement& part : served.model->placement())
    placement.push_back({{"device", part.device}, {"layers", part.layers}});
  return {{"name", served.name()},
          {"reader", served.reader},
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
  LoadSpec load;
  MoveSpec move;  // also what to unload
  double drain_seconds = 30;
  bool wait = true;
};

using B = ChangeBody;

template <class Spec>
fields::Field<B> text_field(const char* name, Spec B::*spec, std::string Spec::*member) {
  return {name,
          [spec, member](B& b, const std::string& n, const Json& v) { b.*spec.*member = fields::to_string(n, v); }};
}

fields::Field<B> wait_field() {
  return fields::boolean<B>("wait", [](B& b, bool v) { b.wait = v; });
}

Fields<B> load_fields() {
  return {
      text_field("name", &B::load, &LoadSpec::name),
      text_field("path", &B::load, &LoadSpec::path),
      text_field("device", &B::load, &LoadSpec::device),
      text_field("split", &B::load, &LoadSpec::split),
      text_field("reader", &B::load, &LoadSpec::reader),
      fields::boolean<B>("join", [](B& b, bool v) { b.load.join = v; }),
      wait_field(),
  };
}

Fields<B> unload_fields() {
  constexpr double kLongestDrain = 3600;
  return {
      text_field("model", &B::move, &MoveSpec::name),
      text_field("reader", &B::move, &MoveSpec::reader),
      fields::number<B>("drain_seconds", 0, kLongestDrain, [](B& b, double v) { b.drain_seconds = v; }),
      wait_field(),
  };
}

Fields<B> move_fields() {
  Fields<B> fields = unload_fields();
  fields.push_back(text_field("device", &B::move, &MoveSpec::device));
  fields.push_back(text_field("split", &B::move, &MoveSpec::split));
  fields.push_back(text_field("group", &B::move, &MoveSpec::group));
  return fields;
}

ChangeBody parse_change(const std::string& text, const Fields<B>& fields) {
  const Json json = fields::parse_json(text);
  ChangeBody body;
  fields::read_fields<B>(body, fields::to_object("body", json), fields);
  if ((!body.load.device.empty() && !body.load.split.empty()) ||
      (!body.move.device.empty() && !body.move.split.empty()))
    throw http::RequestError({400, "'device' and 'split' exclude each other", "split", "invalid_value"});
  return body;
}

// A name that nobody has is told at once.
void check_target(const ServedModels& models, const MoveSpec& target) {
  if (target.reader.empty() && target.name.empty()) fields::refuse_missing("model");
  target.reader.empty() ? (void)models.find_group(target.name) : (void)models.find_reader(target.reader);
}

std::chrono::milliseconds limit_of(const ChangeBody& body) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(body.drain_seconds * 1000));
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
  const ChangeBody body = parse_change(exchange->request().body, load_fields());
  manager.load(body.load,
               answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); }));
}

void unload(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const ChangeBody body = parse_change(exchange->request().body, unload_fields());
  check_target(models, body.move);
  auto done = answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); });
  if (body.move.reader.empty())
    manager.unload(body.move.name, limit_of(body), std::move(done));
  else
    manager.unload_reader(body.move.reader, limit_of(body), std::move(done));
}

void move(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const ChangeBody body = parse_change(exchange->request().body, move_fields());
  check_target(models, body.move);
  if (body.move.device.empty() && body.move.split.empty() && body.move.group.empty()) fields::refuse_missing("device");
  manager.move(body.move, limit_of(body),
               answer_when_done(exchange, body, [&models, &manager] { return list_models(models, manager); }));
}

// ---- Adapters: vLLM's routes and fields

Json describe_adapter(const ServedModel& served) {
  return {{"lora_name", served.name()},
          {"lora_path", served.source},
          {"base_model_name", served.group},
          {"rank", served.adapter->rank},
          {"created", served.created}};
}

Json list_adapters(const ServedModels& models) {
  Json list = Json::array();
  for (const auto& model : models.names())
    if (model->adapter) list.push_back(describe_adapter(*model));
  return {{"adapters", std::move(list)}};
}

AdapterSpec parse_adapter(const std::string& text, bool loads) {
  using A = AdapterSpec;
  Fields<A> fields = {fields::string<A>("lora_name", [](A& a, const std::string& v) { a.name = v; })};
  if (loads) {
    fields.push_back(fields::string<A>("lora_path", [](A& a, const std::string& v) { a.path = v; }));
    fields.push_back(fields::string<A>("base_model_name", [](A& a, const std::string& v) { a.base = v; }));
    fields.push_back(fields::boolean<A>("load_inplace", [](A& a, bool v) { a.replace = v; }));
  } else {
    fields.push_back(fields::only<A>("lora_int_id", {}));
  }
  const Json json = fields::parse_json(text);
  A spec;
  fields::read_fields<A>(spec, fields::to_object("body", json), fields);
  if (spec.name.empty()) fields::refuse_missing("lora_name");
  if (loads && spec.path.empty()) fields::refuse_missing("lora_path");
  return spec;
}

void load_adapter(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  AdapterSpec spec = parse_adapter(exchange->request().body, true);
  manager.load_adapter(std::move(spec), answer_when_done(exchange, {}, [&models] { return list_adapters(models); }));
}

void unload_adapter(const ServedModels& models, ModelManager& manager, const ExchangePtr& exchange) {
  const AdapterSpec spec = parse_adapter(exchange->request().body, false);
  manager.unload_adapter(spec.name, answer_when_done(exchange, {}, [&models] { return list_adapters(models); }));
}

}  // namespace

// A load that lacks memory is no reason to try again soon, and a bad file is the caller's.
http::ApiError change_error(const Error& error) {
  http::ApiError api = http::to_api_error(error);
  if (error.kind() == ErrorKind::kResource) api.status = 507, api.code = "insufficient_memory";
  if (error.kind() == ErrorKind::kCorrupt) api.status = 400, api.code = "corrupt_file";
  return api;
}

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
      get("/v1/lora_adapters", [&](const http::Request&) { return list_adapters(models); }),
      change("/v1/load_lora_adapter", load_adapter),
      change("/v1/unload_lora_adapter", unload_adapter),
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
            const auto readers = models.list();
            const auto named = std::find_if(readers.begin(), readers.end(),
                                            [&](const auto& served) { return served->reader == request.parameter; });
            const openai::ServedModelPtr served = named != readers.end() ? *named : models.find(request.parameter);
            return Json{{"model", served->name()}, {"kernels", to_json(kernels_of(*served->model))}};
          }),
  };
}

}  // namespace nacelle::manage
