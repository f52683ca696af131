// The bytes of HTTP/1.1 answers, and the path of a request's target. No Boost.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
  std::string_view cors_origin;      // empty: none
  std::string_view request_id = {};  // of X-Request-Id; empty: none
  std::string_view id_header = {};   // says it too; empty: none
};

// Status line and header fields, with the empty line.
std::string header_text(const Response& response, const HeaderOptions& options);

// The whole of an answer after which the connection closes. Of the options, framing and keep_alive do not count.
std::string closing_answer(const Response& response, HeaderOptions options = {});

// Appends `data`, framed as one chunk. An empty chunk would end the answer: `data` must not be empty.
void add_chunk(std::string& out, std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// A client's X-Request-Id as it may stand in our logs and headers: 1 to 128 visible ASCII characters.
bool is_request_id(std::string_view text) noexcept;

// The trace id of a W3C traceparent ("00-<32 hex>-<16 hex>-<2 hex>", also of later versions); empty where it is
// malformed or all zeros.
std::string_view trace_id(std::string_view traceparent) noexcept;

// The percent-decoded path of "/v1/models/a%2Fb?x=1" or "http://host/v1"; nullopt where it is malformed.
std::optional<std::string> decode_path(std::string_view target);

// The decoded parameters of the query in "/v1/models?limit=2&after=x"; none where there is no query. nullopt where it
// is malformed.
std::optional<std::vector<std::pair<std::string, std::string>>> decode_query(std::string_view target);

// Without the port: "127.0.0.1" of "127.0.0.1:8081", "[::1]" of "[::1]:8081".
std::string_view host_of(std::string_view authority) noexcept;

}  // namespace nacelle::http
