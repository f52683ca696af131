#include "api/kserve/routes.hpp"

#include <utility>

#include "api/fields/json.hpp"
#include "api/http/message.hpp"
#include "api/version.hpp"

namespace nacelle::kserve {
namespace {

using fields::Json;

http::Response json_response(int status, const Json& json) {
  return {status, fields::to_text(json), "application/json", {}};
}

http::Response server_metadata(const http::Request&) {
  return json_response(200, {{"name", "nacelle"}, {"version", version()}, {"extensions", Json::array()}});
}

// Text goes in and text comes out: there is no v2 inference here, but tools list models by their tensors.
http::Response model_metadata(const openai::ServedModel& model) {
  const auto tensor = [](const char* name) -> Json {
    return {{"name", name}, {"datatype", "BYTES"}, {"shape", Json::array({1})}};
  };
  return json_response(200, {{"name", model.name()},
                             {"versions", Json::array({"1"})},
                             {"platform", "nacelle_" + model.model->architecture_plugin()},
                             {"inputs", Json::array({tensor("text_input")})},
                             {"outputs", Json::array({tensor("text_output")})}});
}

http::Response model_ready(const openai::ServedModels& models, const openai::ServedModel& model) {
  const bool ready = models.state() == openai::ServedModels::State::kReady && model.engine.can_serve();
  return json_response(ready ? 200 : 503, {{"name", model.name()}, {"ready", ready}});
}

http::Response about_model(const openai::ServedModels& models, const http::Request& request) {
  constexpr std::string_view kReady = "/ready", kVersion = "/versions/1";  // there is no other version
  std::string_view name = request.parameter;
  const bool asks_ready = name.ends_with(kReady);
  if (asks_ready) name.remove_suffix(kReady.size());
  if (name.ends_with(kVersion)) name.remove_suffix(kVersion.size());
  const openai::ServedModelPtr model = models.find(name);
  return asks_ready ? model_ready(models, *model) : model_metadata(*model);
}

}  // namespace

std::vector<http::Route> metadata_routes(const openai::ServedModels& models) {
  return {
      {"GET", "/v2", http::answer(server_metadata)},
      {"GET", "/v2/models/{name}",
       http::answer([&models](const http::Request& request) { return about_model(models, request); })},
  };
}

}  // namespace nacelle::kserve
