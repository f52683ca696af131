// The bytes of HTTP/1.1 answers, and the path of a request's target. No Boost.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/http/message.hpp"

namespace nacelle::http {

enum class Framing {
  kLength,   // Content-Length
  kChunked,  // Transfer-Encoding: chunked
  kClose     // until the connection closes: a stream to an HTTP/1.0 client
};

struct HeaderOptions {
  Framing framing = Framing::kLength;
  bool keep_alive = true;
  std::string_view cors_origin;  // empty: none
};

// Status line and header fields, with the empty line.
std::string header_text(const Response& response, const HeaderOptions& options);

// The whole of an answer after which the connection closes.
std::string closing_answer(const Response& response);

// `data` framed as one chunk. An empty chunk would end the answer: `data` must not be empty.
std::string chunk(std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// The percent-decoded path of "/v1/models/a%2Fb?x=1" or "http://host/v1"; nullopt where it is malformed.
std::optional<std::string> decode_path(std::string_view target);

}  // namespace nacelle::http
