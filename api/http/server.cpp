#include "api/http/server.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <thread>
#include <utility>

#include "api/http/connection.hpp"
#include "api/http/wire.hpp"
#include "core/base/log.hpp"

namespace nacelle::http {

namespace net = boost::asio;
using net::ip::tcp;

class Server::Impl {
 public:
  explicit Impl(ServerOptions options) : context(std::move(options)), thread_([this] { context.io.run(); }) {}

  ~Impl() {
    context.io.stop();
    thread_.join();
    context.workers.join();
  }

  std::uint16_t listen(const std::string& host, std::uint16_t port, Site site);

  ServerContext context;

 private:
  net::awaitable<void> accept(tcp::acceptor acceptor, std::shared_ptr<const Site> site);

  net::executor_work_guard<net::io_context::executor_type> work_{context.io.get_executor()};
  std::thread thread_;
};

namespace {

// What whoever starts the server can do about it.
const char* advice(const boost::system::error_code& error) {
  if (error == net::error::address_in_use) return "; stop what uses it, or choose another port";
  if (error == net::error::access_denied)
    return "; ports below 1024 are root's, or who has CAP_NET_BIND_SERVICE: choose a higher one";
  if (error == boost::system::errc::address_not_available)
    return "; the address must be one of this machine's, or 0.0.0.0";
  return "";
}

}  // namespace

std::uint16_t Server::Impl::listen(const std::string& host, std::uint16_t port, Site site) {
  const std::string where = host + ":" + std::to_string(port);
  const auto refuse = [&](const boost::system::error_code& error) {
    if (error)
      throw Error(ErrorKind::kUnavailable, "cannot listen on " + where + ": " + error.message() + advice(error),
                  "port");
  };
  boost::system::error_code error;
  tcp::resolver resolver(context.io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty())
    throw Error(ErrorKind::kInvalidArgument,
                "there is no address '" + host + "'; expected one of this machine's, as 127.0.0.1, or 0.0.0.0 for all",
                "host");
  const tcp::endpoint endpoint = found.begin()->endpoint();

  tcp::acceptor acceptor(context.io);
  acceptor.open(endpoint.protocol(), error);
  refuse(error);
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor.bind(endpoint, error);
  refuse(error);
  acceptor.listen(net::socket_base::max_listen_connections, error);
  refuse(error);
  const std::uint16_t bound = acceptor.local_endpoint().port();
  auto shared = std::make_shared<const Site>(std::move(site));
  net::co_spawn(context.io, accept(std::move(acceptor), std::move(shared)), net::detached);
  return bound;
}

net::awaitable<void> Server::Impl::accept(tcp::acceptor acceptor, std::shared_ptr<const Site> site) {
  net::steady_timer pause(context.io);
  std::chrono::steady_clock::time_point next_warning{};  // one a minute: it is tried ten times a second
  for (;;) {
    boost::system::error_code error;
    tcp::socket socket = co_await acceptor.async_accept(net::redirect_error(net::use_awaitable, error));
    if (error) {  // out of descriptors, most likely: some will be free soon
      if (const auto now = std::chrono::steady_clock::now(); now >= next_warning) {
        log::warning(
            "cannot accept connections: {}; {} are open: raise the limit of open files (ulimit -n), or lower "
            "--max-connections",
            error.message(), context.connections.load());
        next_warning = now + std::chrono::minutes(1);
      }
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
    } else if (context.connections < context.options.max_connections) {
      serve_connection(std::move(socket), context, site);
    } else {
      socket.non_blocking(true, error);
      socket.write_some(net::buffer(closing_answer(error_response({503, "too many connections", "", "overloaded"}))),
                        error);
    }
  }
}

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;

std::uint16_t Server::listen(const std::string& host, std::uint16_t port, Router routes, Admit admit) {
  return impl_->listen(host, port, {std::move(routes), std::move(admit)});
}

void Server::close_after_answers() { impl_->context.closing = true; }

void Server::settle() {
  std::promise<void> reached;
  impl_->context.mailbox.post([&reached] { reached.set_value(); });
  reached.get_future().wait();
}

std::size_t Server::active() const noexcept { return impl_->context.active; }

std::size_t Server::connections() const noexcept { return impl_->context.connections; }

void Server::reload_tls() {
  if (impl_->context.tls) impl_->context.tls->reload();
}

}  // namespace nacelle::http
