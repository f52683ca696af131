#include "api/http/router.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace nacelle::http {
namespace {

struct Parameters {
  std::string first, second;
};

// What the pattern's {name}s take; nullopt where the path is another.
std::optional<Parameters> match(std::string_view pattern, std::string_view path) {
  Parameters found;
  for (std::string* place : {&found.first, &found.second}) {
    const auto brace = pattern.find('{');
    if (brace == std::string_view::npos) break;
    if (path.substr(0, brace) != pattern.substr(0, brace)) return std::nullopt;
    path.remove_prefix(brace);
    pattern.remove_prefix(pattern.find('}') + 1);
    const auto end = pattern.empty() ? path.size() : std::min(path.find('/'), path.size());
    if (end == 0) return std::nullopt;
    place->assign(path.substr(0, end));
    path.remove_prefix(end);
  }
  return path == pattern ? std::optional(std::move(found)) : std::nullopt;
}

}  // namespace

Handler answer(std::function<Response(const Request&)> make) {
  return [make = std::move(make)](const ExchangePtr& exchange) {
    exchange->post(
        [exchange, response = make(exchange->request())]() mutable { exchange->respond(std::move(response)); });
  };
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match result;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    auto parameters = match(route.pattern, path);
    if (!parameters) continue;
    if (result.allow.empty()) result.error_shape = route.error_shape, result.id_header = route.id_header;
    result.allow += route.method + (route.method == "GET" ? ", HEAD, " : ", ");
    if (result.route || route.method != wanted) continue;
    result.route = &route;
    result.parameter = std::move(parameters->first);
    result.second = std::move(parameters->second);
  }
  if (!result.allow.empty()) result.allow += "OPTIONS";
  return result;
}

}  // namespace nacelle::http
