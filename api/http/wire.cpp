#include "api/http/wire.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <iterator>
#include <utility>

namespace nacelle::http {
namespace {

struct Reason {
  int status;
  const char* text;
};

constexpr Reason kReasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
};

const char* reason_of(int status) {
  for (const Reason& reason : kReasons) {
    if (reason.status == status) return reason.text;
  }
  return "";
}

// IMF-fixdate of RFC 9110, 5.6.7. strftime's %a and %b would follow the locale; the program never sets one.
std::string date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

std::optional<char> from_hex(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
  return static_cast<char>(value);
}

// Without its percent signs; nullopt where they are malformed.
std::optional<std::string> decode(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    const auto byte = from_hex(text.substr(i + 1, 2));
    if (!byte || *byte == '\0') return std::nullopt;
    result += *byte;
    i += 2;
  }
  return result;
}

}  // namespace

std::string header_text(const Response& response, const HeaderOptions& options) {
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  const auto add = [&](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  };
  add("Date", date());
  add("Server", "nacelle");
  const bool has_body = response.status != 204 && response.status != 304;
  if (has_body) add("Content-Type", response.content_type);
  if (options.framing == Framing::kChunked) add("Transfer-Encoding", "chunked");
  if (options.framing == Framing::kLength && has_body) add("Content-Length", std::to_string(response.body.size()));
  add("Connection", options.keep_alive ? "keep-alive" : "close");
  if (!options.request_id.empty()) {
    add("X-Request-Id", options.request_id);
    if (!options.id_header.empty()) add(options.id_header, options.request_id);
  }
  for (const auto& [name, value] : response.headers) add(name, value);
  if (!options.cors_origin.empty()) {
    add("Access-Control-Allow-Origin", options.cors_origin);
    // * is no word for Authorization, and none for requests with cookies; OpenAI's and Anthropic's clients send a dozen
    // headers of their own.
    add("Access-Control-Allow-Headers",
        "Authorization, Content-Type, X-Api-Key, X-Request-Id, Traceparent, Anthropic-Version, Anthropic-Beta, *");
    add("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    add("Access-Control-Expose-Headers", "X-Request-Id, Request-Id, Retry-After");
  }
  return text += "\r\n";
}

std::string closing_answer(const Response& response, HeaderOptions options) {
  options.framing = Framing::kLength;
  options.keep_alive = false;
  return header_text(response, options) + response.body;
}

void add_chunk(std::string& out, std::string_view data) {
  std::array<char, 16> size{};
  const char* end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
  out.append(size.data(), static_cast<std::size_t>(end - size.data())).append("\r\n").append(data).append("\r\n");
}

bool is_request_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 128 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string_view trace_id(std::string_view traceparent) noexcept {
  constexpr std::string_view kShape = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
  if (traceparent.size() < kShape.size()) return {};
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const char c = traceparent[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (kShape[i] == 'h' ? !hex : c != '-') return {};
  }
  // A later version may append "-more"; version 00 may not, and ff is none.
  const bool longer = traceparent.size() > kShape.size();
  if (traceparent.starts_with("ff") || (longer && (traceparent.starts_with("00") || traceparent[55] != '-'))) return {};
  const std::string_view id = traceparent.substr(3, 32);
  return id.find_first_not_of('0') == std::string_view::npos ? std::string_view() : id;
}

std::string_view host_of(std::string_view authority) noexcept {
  const auto bracket = authority.find(']');
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  return authority.substr(0, colon);
}

std::optional<std::string> decode_path(std::string_view target) {
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const auto slash = target.find('/', target.find("//") + 2);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  return decode(target.substr(0, target.find_first_of("?#")));
}

std::optional<std::vector<std::pair<std::string, std::string>>> decode_query(std::string_view target) {
  std::vector<std::pair<std::string, std::string>> query;
  target = target.substr(0, target.find('#'));
  const auto mark = target.find('?');
  if (mark == std::string_view::npos) return query;
  std::string text(target.substr(mark + 1));
  std::replace(text.begin(), text.end(), '+', ' ');
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part.empty()) continue;
    const auto equals = part.find('=');
    auto name = decode(part.substr(0, equals));
    auto value = decode(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1));
    if (!name || !value) return std::nullopt;
    query.emplace_back(std::move(*name), std::move(*value));
  }
  return query;
}

}  // namespace nacelle::http
