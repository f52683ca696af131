// An HTTP request and its answer as the handlers see them. Plain data, no Boost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/error.hpp"

namespace nacelle::http {

struct Request {
  std::string method;                                      // "GET", "POST", ...
  std::string path;                                        // percent-decoded, without the query
  std::string parameter;                                   // what stands in the place of {name} in the route's pattern
  std::string second;                                      // and in that of a second {name}
  std::vector<std::pair<std::string, std::string>> query;  // "a=1&b": decoded, in the client's order; {"b", ""}
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, in the client's order
  std::string id;                                            // of X-Request-Id, or one of our own
  std::string client;                                        // name of the API key; empty without keys

  // nullptr where there is none of that name (in lower case).
  const std::string* header(std::string_view name) const noexcept;
};

// What one request took, for logs.
struct TokenCounts {
  std::uint64_t prompt = 0, completion = 0;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // others: Allow, Retry-After, ...
};

// What an OpenAI client expects of a failure. `param` and `code` are null in the JSON where they are empty.
struct ApiError {
  int status = 500;
  std::string message;
  std::string param;
  std::string code;
  std::uint32_t retry_after = 1;  // seconds, told with 429 and 503
};

// An Error whose answer is known where it is thrown.
class RequestError : public Error {
 public:
  explicit RequestError(ApiError error)
      : Error(ErrorKind::kInvalidArgument, error.message, error.param), error_(std::move(error)) {}
  const ApiError& api_error() const noexcept { return error_; }

 private:
  ApiError error_;
};

// {"error": {message, type, param, code}}; the type follows from the status.
std::string error_body(const ApiError& error);
// This shape has no place for the id, which is in a header.
Response error_response(const ApiError& error, std::string_view request_id = {});

// What makes a failure's answer, in the shape of a dialect. The id: Request::id.
using ErrorShape = Response (*)(const ApiError&, std::string_view request_id);

// A RequestError's own; else the status follows from the kind: 400 kInvalidArgument and kUnsupported, 404 kNotFound,
// 429 kResource and 503 kUnavailable (with Retry-After), 504 kTimeout, 500 kCorrupt and kInternal.
ApiError to_api_error(const Error& error);

}  // namespace nacelle::http
