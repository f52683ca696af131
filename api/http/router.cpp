#include "api/http/router.hpp"

#include <optional>
#include <utility>

namespace nacelle::http {
namespace {

// What the pattern's {name} takes, "" for a pattern without one; nullopt where the path is another.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const auto brace = pattern.find('{');
  if (brace == std::string_view::npos) return path == pattern ? std::optional<std::string_view>("") : std::nullopt;
  if (path.size() <= brace || path.substr(0, brace) != pattern.substr(0, brace)) return std::nullopt;
  return path.substr(brace);
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
    const auto parameter = match(route.pattern, path);
    if (!parameter) continue;
    result.allow += route.method + (route.method == "GET" ? ", HEAD, " : ", ");
    if (result.route || route.method != wanted) continue;
    result.route = &route;
    result.parameter = *parameter;
  }
  if (!result.allow.empty()) result.allow += "OPTIONS";
  return result;
}

}  // namespace nacelle::http
