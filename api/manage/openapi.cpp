#include "api/manage/openapi.hpp"

#include <algorithm>
#include <cctype>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "api/version.hpp"
#include "sdk/runtime/embedded_file.hpp"

NACELLE_EMBEDDED_FILE(nacelle_openapi);

namespace nacelle::manage {
namespace {

using fields::Json;

std::string operation(std::string_view method, std::string_view path) {
  std::string name(method);
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name.append(" ").append(path);
}

// Names below #/components/schemas that `json` refers to.
void collect(const Json& json, std::set<std::string>& names) {
  constexpr std::string_view kSchemas = "#/components/schemas/";
  if (json.is_object() && json.contains("$ref")) {
    const std::string_view target = json["$ref"].get_ref<const std::string&>();
    if (target.starts_with(kSchemas)) names.emplace(target.substr(kSchemas.size()));
  }
  if (json.is_structured())
    for (const auto& [key, value] : json.items()) collect(value, names);
}

// Schemas that the paths use, and those that these use.
Json used_schemas(const Json& paths, const Json& all) {
  std::set<std::string> names;
  collect(paths, names);
  for (std::size_t before = 0; before != names.size();) {
    before = names.size();
    for (const std::string& name : std::set<std::string>(names)) collect(all.at(name), names);
  }
  Json used = Json::object();
  for (const auto& [name, schema] : all.items())
    if (names.count(name)) used[name] = schema;
  return used;
}

Json cut_down(const std::set<std::string>& wanted) {
  Json document = openapi_document();
  Json paths = Json::object();
  for (const auto& [path, methods] : document["paths"].items())
    for (const auto& [method, description] : methods.items())
      if (wanted.count(operation(method, path))) paths[path][method] = description;
  Json& components = document["components"];
  components["schemas"] = used_schemas({paths, components["responses"]}, components["schemas"]);
  document["paths"] = std::move(paths);
  return document;
}

}  // namespace

const Json& openapi_document() {
  static const Json document = [] {
    Json parsed = Json::parse(nacelle_openapi_begin, nacelle_openapi_end);
    parsed["info"]["version"] = version();
    return parsed;
  }();
  return document;
}

std::vector<std::string> described_operations() {
  std::vector<std::string> names;
  for (const auto& [path, methods] : openapi_document()["paths"].items())
    for (const auto& [method, description] : methods.items()) names.push_back(operation(method, path));
  return names;
}

http::Route openapi_route(const std::vector<http::Route>& others) {
  // Made when somebody asks: it is a tenth of the time that a server's start takes.
  struct Answer {
    std::set<std::string> wanted = {operation("GET", "/openapi.json")};
    std::once_flag made;
    std::string text;
  };
  const auto answer = std::make_shared<Answer>();
  for (const http::Route& route : others) answer->wanted.insert(operation(route.method, route.pattern));
  return {"GET", "/openapi.json", http::answer([answer](const http::Request&) {
            std::call_once(answer->made, [&] { answer->text = fields::to_text(cut_down(answer->wanted)); });
            return http::Response{200, answer->text, "application/json", {}};
          }),
          http::Where::kIoThread, http::Access::kOpen};
}

}  // namespace nacelle::manage
