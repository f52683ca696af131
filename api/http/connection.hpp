// One client's connection: reads requests one after the other, hands each to its route and sends the answer.
// Includes Asio; only the server's own translation units include this.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "api/http/server.hpp"
#include "api/http/transport.hpp"

namespace nacelle::http {

// Tasks for the I/O thread from others. The engine hands out a step's tokens in one go: together they cost one wake-up
// and two turns of a lock, not one of each a token.
class Mailbox {
 public:
  explicit Mailbox(boost::asio::io_context& io) : io_(io) {}
  // [any thread] Tasks run in the order in which they came, from the I/O thread's loop.
  void post(std::function<void()> task);

 private:
  void deliver();

  boost::asio::io_context& io_;
  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;  // under mutex_; where there are some, deliver() is on its way
};

// What all connections of a server share. But for the atomics it belongs to the I/O thread.
struct ServerContext {
  // Throws Error where the TLS files cannot be used.
  explicit ServerContext(ServerOptions o)
      : options(std::move(o)), tls(Tls::make(options.tls_certificate, options.tls_key)), workers(options.workers) {}

  const ServerOptions options;
  const std::unique_ptr<Tls> tls;  // null: plain HTTP
  std::atomic<std::size_t> active{0}, connections{0};
  std::atomic<bool> closing{false};
  std::array<char, 64 << 10> scratch;  // of one read: an idle connection holds no buffer
  std::uint64_t buffered_bytes = 0;    // of request bodies
  boost::asio::thread_pool workers;
  Mailbox mailbox{io};
  boost::asio::io_context io{1};  // the last member: what its pending work holds refers to the others
};

// What an address serves.
struct Site {
  Router router;
  Admit admit;
};

// Takes the socket over. Counts itself in context.connections while it lives.
void serve_connection(boost::asio::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Site> site);

}  // namespace nacelle::http
