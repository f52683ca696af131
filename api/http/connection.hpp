// One client's connection: reads requests one after the other, hands each to its route and sends the answer.
// Includes Asio; only the server's own translation units include this.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "api/http/server.hpp"

namespace nacelle::http {

// What all connections of a server share. But for the atomics it belongs to the I/O thread.
struct ServerContext {
  explicit ServerContext(ServerOptions o) : options(std::move(o)), workers(options.workers) {}

  const ServerOptions options;
  std::atomic<std::size_t> active{0};
  std::atomic<bool> closing{false};
  std::size_t connections = 0;
  std::uint64_t buffered_bytes = 0;  // of request bodies
  boost::asio::thread_pool workers;
  boost::asio::io_context io{1};  // the last member: what its pending work holds refers to the others
};

// Takes the socket over. Counts itself in context.connections while it lives.
void serve_connection(boost::asio::ip::tcp::socket socket, ServerContext& context,
                      std::shared_ptr<const Router> router);

}  // namespace nacelle::http
