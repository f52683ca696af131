#include "api/takeoff/reader_routes.hpp"

#include <utility>

#include "api/fields/fields.hpp"
#include "api/manage/routes.hpp"

namespace nacelle::takeoff {
namespace {

using fields::Fields;
using fields::Json;
using http::ExchangePtr;
using manage::LoadSpec;
using manage::MoveSpec;
using openai::ServedModel;
using openai::ServedModels;

constexpr std::chrono::seconds kDrain{30};
constexpr const char* kPrimary = "primary";

// Takeoff's group "primary" is the first model, whatever its name.
bool is_primary(const ServedModels& models, const ServedModel& reader) {
  const auto all = models.list();
  return !all.empty() && all.front()->group == reader.group;
}

Json describe_reader(const ServedModel& reader) {
  return {{"reader_id", reader.reader},
          {"consumer_group", reader.group},
          {"model_name", reader.source.empty() ? reader.model->name() : reader.source},
          {"model_type", reader.model->architecture_plugin()},
          {"device", to_string(reader.model->placement())},
          {"max_seq_length", reader.model->context()},
          {"max_batch_size", reader.model->options().max_sequences},
          {"ready", reader.engine.can_serve()}};
}

Json list_groups(const ServedModels& models) {
  Json groups = Json::object();
  for (const auto& reader : models.list()) {
    groups[reader->group].push_back(describe_reader(*reader));
    if (is_primary(models, *reader)) groups[kPrimary].push_back(describe_reader(*reader));
  }
  return groups;
}

LoadSpec parse_reader(const std::string& text) {
  using namespace fields;
  static const Fields<LoadSpec> fields = {
      string<LoadSpec>("model_name", [](LoadSpec& s, const std::string& v) { s.path = v; }),
      string<LoadSpec>("consumer_group", [](LoadSpec& s, const std::string& v) { s.name = v; }),
      string<LoadSpec>("device", [](LoadSpec& s, const std::string& v) { s.device = v; }),
      string<LoadSpec>("reader_id", [](LoadSpec& s, const std::string& v) { s.reader = v; }),
      integer<LoadSpec>("max_seq_length", 1, INT32_MAX,
                        [](LoadSpec& s, std::int64_t v) { s.context = static_cast<std::uint32_t>(v); }),
      integer<LoadSpec>("max_batch_size", 1, 4096,
                        [](LoadSpec& s, std::int64_t v) { s.max_sequences = static_cast<std::uint32_t>(v); }),
      only<LoadSpec>("tensor_parallel", {1}),
      only<LoadSpec>("quant_type", {}),
  };
  const Json json = parse_json(text);
  LoadSpec spec;
  read_fields<LoadSpec>(spec, to_object("body", json), fields);
  if (spec.path.empty()) refuse_missing("model_name");
  spec.join = true;
  return spec;
}

manage::ModelManager::Done answer(const ExchangePtr& exchange, int status, std::function<Json()> result) {
  return [exchange, status, result = std::move(result)](const Error* error) {
    http::Response response = error ? http::error_response(manage::change_error(*error))
                                    : http::Response{status, fields::to_text(result()), "application/json", {}};
    exchange->post([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
  };
}

void create(const ServedModels& models, manage::ModelManager& manager, const ExchangePtr& exchange) {
  LoadSpec spec = parse_reader(exchange->request().body);
  if (const auto all = models.list(); spec.name == kPrimary && !all.empty()) spec.name = all.front()->group;
  // The newest is the one that was made: changes run one after the other, and this is told before the next begins.
  manager.load(std::move(spec), answer(exchange, 201, [&models] { return describe_reader(*models.list().back()); }));
}

void remove(const ServedModels& models, manage::ModelManager& manager, const ExchangePtr& exchange) {
  const std::string reader = models.find_reader(exchange->request().parameter)->reader;
  manager.unload_reader(reader, kDrain, answer(exchange, 200, [&models] { return list_groups(models); }));
}

void move(const ServedModels& models, manage::ModelManager& manager, const ExchangePtr& exchange) {
  using namespace fields;
  static const Fields<MoveSpec> fields = {
      string<MoveSpec>("device", [](MoveSpec& s, const std::string& v) { s.device = v; }),
      string<MoveSpec>("consumer_group", [](MoveSpec& s, const std::string& v) { s.group = v; }),
  };
  const Json json = parse_json(exchange->request().body);
  MoveSpec spec;
  read_fields<MoveSpec>(spec, to_object("body", json), fields);
  if (spec.device.empty() && spec.group.empty()) refuse_missing("device");
  spec.reader = models.find_reader(exchange->request().parameter)->reader;
  manager.move(spec, kDrain, answer(exchange, 200, [&models, reader = spec.reader] {
                 return describe_reader(*models.find_reader(reader));
               }));
}

}  // namespace

std::vector<http::Route> reader_routes(const ServedModels& models, manage::ModelManager& manager) {
  using http::Access;
  using http::Where;
  using Handle = void (*)(const ServedModels&, manage::ModelManager&, const ExchangePtr&);
  const auto change = [&](const char* method, const char* pattern, Handle handle) -> http::Route {
    return {method, pattern,
            [&models, &manager, handle](const ExchangePtr& exchange) { handle(models, manager, exchange); },
            Where::kWorker, Access::kManage};
  };
  const auto get = [&](const char* pattern, Json (*make)(const ServedModels&, const http::Request&)) -> http::Route {
    return {"GET", pattern, http::answer([&models, make](const http::Request& request) {
              return http::Response{200, fields::to_text(make(models, request)), "application/json", {}};
            }),
            Where::kWorker, Access::kManage};
  };
  return {
      change("POST", "/reader", create),
      get("/reader_groups", [](const ServedModels& all, const http::Request&) { return list_groups(all); }),
      get("/reader/{id}",
          [](const ServedModels& all, const http::Request& request) {
            return describe_reader(*all.find_reader(request.parameter));
          }),
      change("DELETE", "/reader/{id}", remove),
      change("POST", "/reader/{id}", move),
  };
}

}  // namespace nacelle::takeoff
