// One client's connection: reads requests one after the other, hands each to its route and sends the answer.
// Includes Asio; only the server's own translation units include this.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "api/http/mailbox.hpp"
#include "api/http/server.hpp"
#include "api/http/slow_lane.hpp"
#include "api/http/transport.hpp"

namespace nacelle::http {

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
  SlowLane slow_lane;
  Mailbox mailbox{[this] { boost::asio::post(io, [this] { mailbox.deliver(); }); },
                  {options.stream_gather, [this](MailClock::time_point when) { set_alarm(when); }}};
  boost::asio::io_context io{1};  // its pending work refers to the members before it
  boost::asio::steady_timer alarm{io};
  bool alarm_set = false;

  // Of the mailbox, for gathered pieces. One that is set already comes earlier, and is set anew then if need be.
  void set_alarm(MailClock::time_point when);
};

// What an address serves.
struct Site {
  Router router;
  Admit admit;
};

// Takes the socket over. Counts itself in context.connections while it lives.
void serve_connection(boost::asio::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Site> site);

}  // namespace nacelle::http
