#include "api/ui/routes.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "api/http/wire.hpp"
#include "api/ui/files.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle::ui {
namespace {

using http::Request;
using http::Response;

// No script, style, frame or connection but this server's own files, none of them inside a page, and no text becomes
// markup: a model's answer is somebody else's text.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const File* find_file(std::string_view name) {
  for (const File& file : files())
    if (file.name == name) return &file;
  return nullptr;
}

bool matches(const std::string* if_none_match, std::string_view tag) {
  return if_none_match && (*if_none_match == "*" || if_none_match->find(tag) != std::string::npos);
}

// Made when somebody asks for a file first: OpenSSL's own start costs more than the hashes of all files.
struct Tag {
  std::once_flag made;
  std::string text;
  const std::string& of(const File& file) {
    constexpr std::size_t kDigits = 32;
    std::call_once(made, [&] { text = '"' + sha256(file.text).substr(0, kDigits) + '"'; });
    return text;
  }
};

// Kept by the browser, but asked for again each time (304): the files of another version never meet on one page.
http::Handler file_handler(const File& file) {
  return http::answer([&file, tag = std::make_shared<Tag>()](const Request& request) {
    Response response{200, "", std::string(file.type), {}};
    response.headers = {{"ETag", tag->of(file)},
                        {"Cache-Control", "no-cache"},
                        {"Content-Security-Policy", kPolicy},
                        {"X-Content-Type-Options", "nosniff"},
                        {"Referrer-Policy", "no-referrer"},
                        {"Cross-Origin-Resource-Policy", "same-origin"}};
    if (matches(request.header("if-none-match"), tag->of(file)))
      response.status = 304;
    else
      response.body = file.text;
    return response;
  });
}

bool is_loopback(std::string_view host) { return host == "localhost" || host == "[::1]" || host.starts_with("127."); }

// The other listener's port, for a reader who can reach it.
Response site(const Request& request, const Listener& other) {
  const std::string* authority = request.header("host");
  const bool reaches = !other.loopback || (authority && is_loopback(http::host_of(*authority)));
  const std::string port = other.port != 0 && reaches ? std::to_string(other.port) : "null";
  return {200, "{\"other_port\": " + port + "}", "application/json", {{"Cache-Control", "no-store"}}};
}

std::vector<http::Route> routes(std::string_view page, const Listener& other) {
  using http::Access;
  using http::Where;
  std::vector<std::pair<std::string_view, http::Handler>> handlers;
  for (const File& file : files()) handlers.emplace_back(file.name, file_handler(file));
  const auto any = [handlers = std::move(handlers), &other](const http::ExchangePtr& exchange) {
    const Request& request = exchange->request();
    if (request.parameter == "site.json") return exchange->respond(site(request, other));
    for (const auto& [name, handler] : handlers)
      if (name == request.parameter) return handler(exchange);
    exchange->respond(http::error_response({404, "no such file: " + request.path, "", "unknown_url"}));
  };
  return {{"GET", "/", file_handler(*find_file(page)), Where::kIoThread, Access::kOpen},
          {"GET", "/ui/{file}", any, Where::kIoThread, Access::kOpen}};
}

}  // namespace

std::vector<http::Route> chat_routes(const Listeners& listeners) { return routes("chat.html", listeners.manage); }
std::vector<http::Route> operate_routes(const Listeners& listeners) {
  return routes("operate.html", listeners.inference);
}

}  // namespace nacelle::ui
