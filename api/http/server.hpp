// The HTTP/1.1 server, also over TLS: one I/O thread for all connections, a few workers for handlers that compute.
// Boost stays behind it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/http/router.hpp"

namespace nacelle::http {

// Asked on the I/O thread when a request's header is there, before its body is read: no value lets it in. May set
// request.client.
using Admit = std::function<std::optional<ApiError>(Request& request, const Route& route)>;

// A request that is over. `route` is its route's pattern, empty where it found none.
struct RequestRecord {
  const Request& request;
  std::string_view route;
  int status;  // 499: the client left before its answer was whole
  TokenCounts tokens;
  double seconds;  // since the end of the header
};

struct ServerOptions {
  std::uint32_t max_header_bytes = 16u << 10;        // 431 beyond
  std::uint64_t max_body_bytes = 16u << 20;          // 413 beyond
  std::uint64_t max_buffered_bytes = 256u << 20;     // bodies of all connections together; 503 beyond
  std::uint32_t max_connections = 1024;              // one more gets 503
  std::size_t max_unsent_bytes = 1u << 20;           // of a stream, before its reader counts as gone
  std::chrono::milliseconds header_timeout{10'000};  // from a request's first byte to the end of its header: 408
  std::chrono::milliseconds body_timeout{60'000};    // for the whole body: 408
  std::chrono::milliseconds idle_timeout{75'000};    // a connection between two requests is closed
  std::chrono::milliseconds write_timeout{30'000};   // a client that takes nothing for so long is gone
  // A client that waits for a stream, or for more of it, gets a byte at least this often, where the stream's handler
  // has one to give (Exchange::on_idle()). 0: never.
  std::chrono::milliseconds keep_alive{15'000};
  // Where more than 16 streams get their tokens together and the next ones follow within this time, one send may
  // take several; none waits longer. 0: each goes out at once.
  std::chrono::milliseconds stream_gather{10};
  std::uint32_t workers = 2;
  std::string tls_certificate, tls_key;                 // PEM files; empty: plain HTTP
  std::function<void(const RequestRecord&)> on_answer;  // on the I/O thread; must not block or throw
  std::string cors_origin;  // Access-Control-Allow-Origin; empty: browsers keep other sites' pages out
};

class Server {
 public:
  explicit Server(ServerOptions options);
  // Closes all connections and joins its threads.
  ~Server();

  // Serves `routes` on an address of its own; port 0 picks a free one. Returns the port.
  // Throws Error(kUnavailable) where the address cannot be bound, kInvalidArgument where `host` is no IP address.
  std::uint16_t listen(const std::string& host, std::uint16_t port, Router routes, Admit admit = {});

  // [any thread] Every further answer closes its connection, and idle connections may linger: no request is cut.
  void close_after_answers();
  // [any thread] Requests whose answer is not wholly sent.
  std::size_t active() const noexcept;
  // [not the I/O thread] Returns when all that was posted to exchanges before is done.
  void settle();
  // [any thread] Open connections.
  std::size_t connections() const noexcept;
  // [any thread] Reads the certificate and key again, as happens by itself when the files change. Connections that are
  // open keep theirs; where the files are bad, so does the server, and the log says why.
  void reload_tls();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nacelle::http
