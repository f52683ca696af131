#include "api/http/router.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/base/nearest.hpp"

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
  constexpr std::string_view kOpenai = "/openai";  // before OpenAI's paths, as Groq's clients and KServe's have it
  if (path.starts_with(kOpenai) && path.substr(kOpenai.size()).starts_with("/v1/")) path.remove_prefix(kOpenai.size());
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

std::string Router::near(std::string_view path) const {
  constexpr std::size_t kLongest = 128;
  constexpr std::size_t kSlips = 2, kShortest = 5;  // "/v1" is not nearly "/v2"
  if (path.size() > kLongest) return {};
  std::string plain;  // one slash where there are more, none at the end
  for (const char c : path)
    if (c != '/' || !plain.ends_with('/')) plain += c;
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  // What other servers call their probes.
  for (const char* probe : {"/health", "/healthz", "/ping", "/ready", "/v1/health"})
    if (plain == probe) plain = "/readyz";
  constexpr std::string_view kVersion = "/v1", kTwice = "/v1/v1/";
  const std::string other = plain.starts_with(kTwice) ? plain.substr(kVersion.size()) : std::string(kVersion) + plain;
  for (const std::string& meant : {plain, other})
    for (const Route& route : routes_)
      if (match(route.pattern, meant)) return meant;
  std::vector<std::string> patterns;
  for (const Route& route : routes_)
    if (route.pattern.size() >= kShortest && route.pattern.find('{') == std::string::npos)
      patterns.push_back(route.pattern);
  const std::string found = nearest(plain, patterns);
  return edit_distance(plain, found) <= kSlips ? found : std::string();
}

}  // namespace nacelle::http
