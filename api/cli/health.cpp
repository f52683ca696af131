// health: asks a server how it is, or a question. For container health checks and tests of a deployment: no curl, no
// shell.
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/http/client.hpp"

namespace nacelle::cli {
namespace {

constexpr std::chrono::seconds kProbeTime{4};  // less than a container's health check waits
constexpr std::chrono::minutes kAnswerTime{5};

// Where a server that listens on `address` is reached from its own machine.
std::string reachable(const std::string& address) {
  if (address == "0.0.0.0" || address.empty()) return "127.0.0.1";
  return address == "::" ? "::1" : address;
}

http::ClientRequest request_for(const HealthOptions& options) {
  http::ClientRequest request;
  if (!options.url.empty()) {
    request.url = http::Url::parse(options.url);
    request.verify = !options.insecure;
    return request;
  }
  request.url.tls = !options.serve.http.tls_certificate.empty();
  request.url.host = reachable(options.serve.address);
  request.url.port = std::to_string(options.serve.port);
  request.verify = false;  // its certificate is for its public name
  return request;
}

int probe(const HealthOptions& options) {
  http::ClientRequest request = request_for(options);
  request.url.target = options.live ? "/livez" : "/readyz";
  request.timeout = kProbeTime;
  auto [response, body] = http::fetch_text(request);
  while (!body.empty() && body.back() == '\n') body.pop_back();
  std::printf("%s%s: %s\n", request.url.origin().c_str(), request.url.target.c_str(), body.c_str());
  return response.status == 200 ? 0 : exit_code(ErrorKind::kUnavailable);
}

int ask(const HealthOptions& options) {
  http::ClientRequest request = request_for(options);
  request.method = "POST";
  request.url.target = "/v1/chat/completions";
  request.timeout = kAnswerTime;
  request.headers = {{"Content-Type", "application/json"}};
  if (const char* key = std::getenv("NACELLE_API_KEY"))
    request.headers.emplace_back("Authorization", std::string("Bearer ") + key);
  request.body =
      Json{{"messages", {{{"role", "user"}, {"content", options.ask}}}}, {"temperature", 0}, {"max_tokens", 64}}.dump();
  const auto [response, body] = http::fetch_text(request);
  const Json answer = Json::parse(body, nullptr, false);
  const Json::json_pointer kText("/choices/0/message/content");
  if (response.status != 200 || !answer.contains(kText) || !answer[kText].is_string())
    throw Error(ErrorKind::kUnavailable,
                fmt::format("{} answered {}: {}", request.url.origin(), response.status, body));
  const std::string text = answer[kText].get<std::string>();
  std::printf("%s\n", text.c_str());
  if (text.find(options.expect) != std::string::npos) return 0;
  throw Error(ErrorKind::kUnavailable, fmt::format("the answer has no '{}' in it", options.expect));
}

}  // namespace

int run_command(const HealthOptions& options) { return options.ask.empty() ? probe(options) : ask(options); }

}  // namespace nacelle::cli
