// Failures in OpenAI's shape.
#include "api/http/message.hpp"

#include <nlohmann/json.hpp>

namespace nacelle::http {
namespace {

const char* error_type(int status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

const std::string* Request::header(std::string_view name) const noexcept {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string error_body(const ApiError& error) {
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", error.message},
                                         {"type", error_type(error.status)},
                                         {"param", text_or_null(error.param)},
                                         {"code", text_or_null(error.code)}}}};
  // A message may quote a client's bytes.
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Response error_response(const ApiError& error, std::string_view) {
  Response response{error.status, error_body(error), "application/json", {}};
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.status == 429 || error.status == 503)
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  return response;
}

ApiError to_api_error(const Error& error) {
  if (const auto* request = dynamic_cast<const RequestError*>(&error)) return request->api_error();
  const auto with = [&](int status, const char* code) { return ApiError{status, error.what(), error.param(), code}; };
  if (const auto* busy = dynamic_cast<const BusyError*>(&error)) {
    ApiError answer = with(429, "rate_limit_exceeded");
    answer.retry_after = static_cast<std::uint32_t>(busy->retry_after().count());
    return answer;
  }
  switch (error.kind()) {
    case ErrorKind::kInvalidArgument: return with(400, "");
    case ErrorKind::kUnsupported: return with(400, "unsupported");
    case ErrorKind::kNotFound: return with(404, "not_found");
    case ErrorKind::kResource: return with(429, "rate_limit_exceeded");
    case ErrorKind::kUnavailable: return with(503, "unavailable");
    case ErrorKind::kTimeout: return with(504, "timeout");
    case ErrorKind::kCorrupt:
    case ErrorKind::kInternal: break;
  }
  return with(500, "internal_error");
}

}  // namespace nacelle::http
