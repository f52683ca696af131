// An HTTP/1.1 client: one request, answered into a sink, with a time limit on every wait. https by OpenSSL with the
// system's certificates. Blocks; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nacelle::http {

struct Url {
  bool tls = false;
  std::string host, port, target;  // target: path and query, "/" at least

  // "https://host[:port]/path". Throws Error(kInvalidArgument) for anything else.
  static Url parse(std::string_view text);
  // `location` of a redirect, as seen from here: absolute, or a path.
  Url resolve(std::string_view location) const;
  // "https://host:port", the port only where it is not the scheme's own.
  std::string origin() const;
};

// The proxy that HTTPS_PROXY or HTTP_PROXY names for this URL, unless NO_PROXY has its host; in lower case too, as is
// usual.
std::optional<Url> proxy_from_environment(const Url& url);

struct ClientRequest {
  std::string method = "GET";
  Url url;
  std::optional<Url> proxy;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::chrono::milliseconds timeout{30'000};  // of each wait: to connect, to send, for the next bytes
  bool verify = true;                         // whether the server's certificate is looked at
};

struct ClientResponse {
  unsigned status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::optional<std::uint64_t> length;                       // of the body, where the server says

  const std::string* header(std::string_view name) const noexcept;  // nullptr where it is absent
};

using BodySink = std::function<void(std::string_view)>;

// `on_head` sees status and headers, and says what takes the body; where it gives nothing the body is not read. Throws
// Error(kUnavailable) that names the host and what failed: also for a body that ends early, after the sink took what
// came. What the sink throws passes through.
ClientResponse fetch(const ClientRequest& request, const std::function<BodySink(const ClientResponse&)>& on_head);

// The whole body, `limit` bytes at most (Error(kResource) beyond).
std::pair<ClientResponse, std::string> fetch_text(const ClientRequest& request, std::size_t limit = 16u << 20);

}  // namespace nacelle::http
