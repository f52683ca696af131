#include "api/http/head.hpp"

#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

namespace nacelle::http {

std::string random_request_id() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "req-%016llx", static_cast<unsigned long long>(generator()));
  return text.data();
}

std::optional<ApiError> head_fault(const Request& request) {
  const auto hosts = std::count_if(request.headers.begin(), request.headers.end(),
                                   [](const auto& header) { return header.first == "host"; });
  if (hosts > 1) return ApiError{400, "malformed HTTP request: more than one Host", "", "bad_http"};
  for (const auto& [name, value] : request.headers)
    if (name == "expect" && !value.empty() && ::strcasecmp(value.c_str(), "100-continue") != 0)
      return ApiError{417, "the header Expect says '" + value.substr(0, 80) + "'; only '100-continue' is known here",
                      "", "unsupported_expectation"};
  const auto refuse = [](int status, const char* field, const std::string& value, const char* expected) {
    return ApiError{status,
                    std::string("the request body has the ") + field + " '" + value.substr(0, 80) + "'; " + expected,
                    "", "unsupported_encoding"};
  };
  const std::string* transfer = request.header("transfer-encoding");
  if (transfer && ::strcasecmp(transfer->c_str(), "chunked") != 0)
    return refuse(501, "Transfer-Encoding", *transfer, "only 'chunked' is known here");
  const std::string* encoding = request.header("content-encoding");
  if (encoding && !encoding->empty() && ::strcasecmp(encoding->c_str(), "identity") != 0)
    return refuse(415, "Content-Encoding", *encoding, "it must be sent as it is, without one");
  return std::nullopt;
}

Response no_route(const Request& request, bool malformed, const std::string& allow, const std::string& near,
                  ErrorShape error_shape) {
  const std::string where = request.method + " " + request.path;
  if (malformed) return error_response({400, "malformed request target", "", "bad_http"});
  const std::string advice = near.empty() ? near : "; did you mean " + near + "?";
  if (allow.empty()) return error_response({404, "no such path: " + where + advice, "", "unknown_url"});
  Response response =
      request.method == "OPTIONS"
          ? Response{204, "", "", {}}
          : error_shape({405, "method not allowed: " + where + "; it takes " + allow, "", "method_not_allowed"},
                        request.id);
  response.headers.emplace_back("Allow", allow);
  return response;
}

}  // namespace nacelle::http
