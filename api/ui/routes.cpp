#include "api/ui/routes.hpp"

#include <string>
#include <string_view>

#include "api/http/wire.hpp"
#include "core/plugin_host/sha256.hpp"
#include "sdk/runtime/embedded_file.hpp"

// The files, in one table: name in C++, name on the server, media type.
#define NACELLE_UI_FILES(X)                          \
  X(chat_html, "chat.html", "text/html")             \
  X(operate_html, "operate.html", "text/html")       \
  X(icon_svg, "icon.svg", "image/svg+xml")           \
  X(base_css, "base.css", "text/css")                \
  X(chat_css, "chat.css", "text/css")                \
  X(operate_css, "operate.css", "text/css")          \
  X(theme_js, "theme.js", "text/javascript")         \
  X(dom_js, "dom.js", "text/javascript")             \
  X(server_js, "server.js", "text/javascript")       \
  X(shell_js, "shell.js", "text/javascript")         \
  X(chat_js, "chat.js", "text/javascript")           \
  X(turns_js, "turns.js", "text/javascript")         \
  X(answer_js, "answer.js", "text/javascript")       \
  X(tokens_js, "tokens.js", "text/javascript")       \
  X(markdown_js, "markdown.js", "text/javascript")   \
  X(settings_js, "settings.js", "text/javascript")   \
  X(operate_js, "operate.js", "text/javascript")     \
  X(models_js, "models.js", "text/javascript")       \
  X(inventory_js, "inventory.js", "text/javascript") \
  X(load_js, "load.js", "text/javascript")           \
  X(metrics_js, "metrics.js", "text/javascript")     \
  X(chart_js, "chart.js", "text/javascript")

#define NACELLE_UI_EMBED(name, file, type) NACELLE_EMBED_FILE(nacelle_ui_##name, NACELLE_UI "/" file);
NACELLE_UI_FILES(NACELLE_UI_EMBED)

namespace nacelle::ui {
namespace {

using http::Request;
using http::Response;

struct File {
  std::string_view name, type, text;
};

#define NACELLE_UI_ROW(name, file, type) \
  File{file,                             \
       type "; charset=utf-8",           \
       {nacelle_ui_##name##_begin, static_cast<std::size_t>(nacelle_ui_##name##_end - nacelle_ui_##name##_begin)}},
const File kFiles[] = {NACELLE_UI_FILES(NACELLE_UI_ROW)};

// No script, style, frame or connection but this server's own files, none of them inside a page, and no text becomes
// markup: a model's answer is somebody else's text.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const File* find_file(std::string_view name) {
  for (const File& file : kFiles)
    if (file.name == name) return &file;
  return nullptr;
}

bool matches(const std::string* if_none_match, std::string_view tag) {
  return if_none_match && (*if_none_match == "*" || if_none_match->find(tag) != std::string::npos);
}

// Kept by the browser, but asked for again each time (304): the files of another version never meet on one page.
http::Handler file_handler(const File& file) {
  constexpr std::size_t kTagDigits = 32;
  Response whole{200, std::string(file.text), std::string(file.type), {}};
  const std::string tag = '"' + sha256(file.text).substr(0, kTagDigits) + '"';
  whole.headers = {{"ETag", tag},
                   {"Cache-Control", "no-cache"},
                   {"Content-Security-Policy", kPolicy},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cross-Origin-Opener-Policy", "same-origin"},
                   {"Cross-Origin-Resource-Policy", "same-origin"}};
  return http::answer([whole = std::move(whole), tag](const Request& request) {
    if (!matches(request.header("if-none-match"), tag)) return whole;
    return Response{304, "", whole.content_type, whole.headers};
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
  for (const File& file : kFiles) handlers.emplace_back(file.name, file_handler(file));
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
