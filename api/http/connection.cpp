// The connection's coroutine. All of it runs on the server's I/O thread.
#include "api/http/connection.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "api/http/wire.hpp"
#include "core/base/log.hpp"

namespace nacelle::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
using ErrorCode = boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Parser = beast::http::request_parser<beast::http::string_body>;

constexpr std::size_t kReadAheadBytes = 64u << 10;  // of pipelined requests, read while an answer is made
constexpr std::size_t kLingerBytes = 64u << 20;     // of a refused body, read and dropped so that the refusal arrives
constexpr std::chrono::seconds kLingerTime{2};

// The completion token: wait in the coroutine, and put the error there instead of throwing it.
auto into(ErrorCode& error) { return net::redirect_error(net::use_awaitable, error); }

// The body bytes that one connection holds, as a part of the server's sum.
class BodyShare {
 public:
  explicit BodyShare(ServerContext& context) : context_(context) {}
  ~BodyShare() { context_.buffered_bytes -= bytes_; }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;
  // False where the server holds too much.
  bool set(std::uint64_t bytes) {
    context_.buffered_bytes += bytes - bytes_;
    bytes_ = bytes;
    return context_.buffered_bytes <= context_.options.max_buffered_bytes;
  }

 private:
  ServerContext& context_;
  std::uint64_t bytes_ = 0;
};

// Counts an answer under way.
class ActiveCount {
 public:
  explicit ActiveCount(ServerContext& context) : context_(context) { ++context_.active; }
  ~ActiveCount() { --context_.active; }
  ActiveCount(const ActiveCount&) = delete;
  ActiveCount& operator=(const ActiveCount&) = delete;

 private:
  ServerContext& context_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(net::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Router> router)
      : socket_(std::move(socket)),
        timer_(context.io),
        wake_(context.io),
        context_(context),
        router_(std::move(router)) {
    ++context_.connections;
    timer_.expires_at(Clock::time_point::max());
    wake_.expires_at(Clock::time_point::max());
  }
  ~Connection() { --context_.connections; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  net::awaitable<void> run();

 private:
  struct Failure {
    bool gone = false;  // nobody is left to tell
    ApiError error;
  };

  net::awaitable<bool> serve_one();
  net::awaitable<bool> wait_for_request();
  net::awaitable<std::optional<Failure>> read_request(Parser& parser, BodyShare& share);
  std::optional<Failure> failure_of(const ErrorCode& error) const;
  ExchangePtr begin_exchange(Parser& parser);
  static void run_handler(const Handler& handler, const ExchangePtr& exchange);
  net::awaitable<bool> send_answer(Exchange& exchange, bool keep_alive, unsigned version);
  net::awaitable<bool> send_stream(Exchange& exchange, Framing framing);
  net::awaitable<void> wait_for_output();
  net::awaitable<bool> send(std::string_view bytes);
  net::awaitable<void> linger();
  void set_deadline(Clock::duration from_now);
  void arm();
  void watch(const ExchangePtr& exchange);
  bool read_ahead();

  net::ip::tcp::socket socket_;
  beast::flat_buffer buffer_;
  // One timer a connection: operations only move the deadline. (Beast's tcp_stream closes the socket at a time-out, and
  // the client would never read its 408.)
  net::steady_timer timer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool timed_out_ = false;
  net::steady_timer wake_;  // never expires; cancelled when the exchange has output
  ServerContext& context_;
  std::shared_ptr<const Router> router_;
  ExchangePtr current_;
};

net::awaitable<void> Connection::run() {
  ErrorCode ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  while (co_await serve_one()) {
  }
  socket_.shutdown(net::ip::tcp::socket::shutdown_both, ignored);
}

// True where the connection is ready for the next request.
net::awaitable<bool> Connection::serve_one() {
  if (!co_await wait_for_request()) co_return false;
  Parser parser;
  parser.header_limit(context_.options.max_header_bytes);
  parser.body_limit(context_.options.max_body_bytes);
  BodyShare share(context_);
  if (const auto failure = co_await read_request(parser, share)) {
    if (failure->gone) co_return false;
    if (co_await send(closing_answer(error_response(failure->error)))) co_await linger();
    co_return false;
  }
  const bool keep_alive = parser.keep_alive();
  const unsigned version = parser.get().version();
  const ActiveCount count(context_);
  current_ = begin_exchange(parser);
  const bool sent = co_await send_answer(*current_, keep_alive, version);
  current_.reset();
  ErrorCode ignored;
  socket_.cancel(ignored);  // the watch
  co_return sent;
}

net::awaitable<bool> Connection::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  ErrorCode error;
  set_deadline(context_.options.idle_timeout);
  const auto size = co_await socket_.async_read_some(buffer_.prepare(4096), into(error));
  buffer_.commit(size);
  co_return !error;
}

net::awaitable<std::optional<Connection::Failure>> Connection::read_request(Parser& parser, BodyShare& share) {
  ErrorCode error;
  set_deadline(context_.options.header_timeout);
  co_await beast::http::async_read_header(socket_, buffer_, parser, into(error));
  if (error) co_return failure_of(error);

  if (beast::iequals(parser.get()[beast::http::field::expect], "100-continue") && !parser.is_done()) {
    if (!co_await send("HTTP/1.1 100 Continue\r\n\r\n")) co_return Failure{true, {}};
  }
  parser.eager(true);
  set_deadline(context_.options.body_timeout);
  while (!parser.is_done()) {
    co_await beast::http::async_read_some(socket_, buffer_, parser, into(error));
    if (error) co_return failure_of(error);
    if (!share.set(parser.get().body().size())) {
      co_return Failure{false, {503, "the server holds too many request bodies; try again", "", "overloaded"}};
    }
  }
  co_return std::nullopt;
}

std::optional<Connection::Failure> Connection::failure_of(const ErrorCode& error) const {
  using Http = beast::http::error;
  const auto say = [](int status, std::string message, const char* code) {
    return Failure{false, {status, std::move(message), "", code}};
  };
  if (timed_out_) return say(408, "the request did not arrive in time", "request_timeout");
  if (error == Http::body_limit) {
    const std::string limit = std::to_string(context_.options.max_body_bytes);
    return say(413, "the request body is larger than " + limit + " bytes", "body_too_large");
  }
  if (error == Http::header_limit || error == Http::buffer_overflow) {
    const std::string limit = std::to_string(context_.options.max_header_bytes);
    return say(431, "the request header is larger than " + limit + " bytes", "header_too_large");
  }
  if (error == Http::end_of_stream || error == Http::partial_message) return Failure{true, {}};
  if (error.category() == make_error_code(Http::bad_method).category()) {
    return say(400, "malformed HTTP request: " + error.message(), "bad_http");
  }
  return Failure{true, {}};
}

ExchangePtr Connection::begin_exchange(Parser& parser) {
  auto& message = parser.get();
  Request request{std::string(message.method_string()), "", "", std::move(message.body())};
  const auto path = decode_path(message.target());
  request.path = path.value_or("");
  Router::Match match = router_->find(request.method, request.path);
  request.parameter = std::move(match.parameter);
  const std::string where = request.method + " " + request.path;

  auto exchange = std::make_shared<Exchange>(
      std::move(request), [&io = context_.io](Exchange::Task task) { net::post(io, std::move(task)); },
      context_.options.max_unsent_bytes);
  exchange->on_output([self = weak_from_this()] {
    if (const auto alive = self.lock()) alive->wake_.cancel();
  });
  if (match.route && match.route->where == Where::kWorker) {
    net::post(context_.workers,
              [router = router_, route = match.route, exchange] { run_handler(route->handler, exchange); });
  } else if (match.route) {
    run_handler(match.route->handler, exchange);
  } else if (!path) {
    exchange->respond(error_response({400, "malformed request target", "", "bad_http"}));
  } else if (match.allow.empty()) {
    exchange->respond(error_response({404, "no such path: " + where, "", "unknown_url"}));
  } else {
    const bool options = exchange->request().method == "OPTIONS";
    Response response = options ? Response{204, "", "", {}}
                                : error_response({405, "method not allowed: " + where, "", "method_not_allowed"});
    response.headers.emplace_back("Allow", match.allow);
    exchange->respond(std::move(response));
  }
  if (!exchange->head()) watch(exchange);
  return exchange;
}

// On a worker or on the I/O thread.
void Connection::run_handler(const Handler& handler, const ExchangePtr& exchange) {
  ApiError failure;
  try {
    return handler(exchange);
  } catch (const Error& error) {
    failure = to_api_error(error);
  } catch (const std::exception& error) {
    log::error("{} {}: {}", exchange->request().method, exchange->request().path, error.what());
    failure = {500, "internal error; the server's log has the details", "", "internal_error"};
  }
  exchange->post([exchange, failure] { exchange->respond(error_response(failure)); });
}

// True where the connection can carry another request.
net::awaitable<bool> Connection::send_answer(Exchange& exchange, bool keep_alive, unsigned version) {
  while (!exchange.head() && !exchange.cancelled()) co_await wait_for_output();
  if (exchange.cancelled()) co_return false;

  const Response& head = *exchange.head();
  HeaderOptions options{Framing::kLength, keep_alive && !context_.closing, context_.options.cors_origin};
  if (exchange.streaming()) {
    options.framing = version >= 11 ? Framing::kChunked : Framing::kClose;
    options.keep_alive = options.keep_alive && version >= 11;
    if (!co_await send(header_text(head, options))) co_return false;
    co_return co_await send_stream(exchange, options.framing) && options.keep_alive;
  }
  std::string text = header_text(head, options);
  if (exchange.request().method != "HEAD") text += head.body;
  co_return co_await send(text) && options.keep_alive;
}

net::awaitable<bool> Connection::send_stream(Exchange& exchange, Framing framing) {
  while (!exchange.cancelled()) {
    const bool last = exchange.finished();
    std::string text = exchange.take();
    if (framing == Framing::kChunked) {
      if (!text.empty()) text = chunk(text);
      if (last) text += kLastChunk;
    }
    if (!text.empty() && !co_await send(text)) {
      exchange.cancel();
      co_return false;
    }
    if (last) co_return true;
    if (text.empty()) co_await wait_for_output();
  }
  co_return false;
}

// Nothing can be missed: output is announced on this thread, so only while the coroutine waits.
net::awaitable<void> Connection::wait_for_output() {
  ErrorCode ignored;
  deadline_ = Clock::time_point::max();
  co_await wake_.async_wait(into(ignored));
}

net::awaitable<bool> Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    ErrorCode error;
    set_deadline(context_.options.write_timeout);
    const auto size = co_await socket_.async_write_some(net::buffer(bytes.data(), bytes.size()), into(error));
    if (error) co_return false;
    bytes.remove_prefix(size);
  }
  co_return true;
}

// A close with unread bytes resets the connection, and the refusal may be lost on its way.
net::awaitable<void> Connection::linger() {
  ErrorCode error;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, error);
  set_deadline(kLingerTime);
  std::string drop(64u << 10, '\0');
  for (std::size_t bytes = 0; !error && bytes < kLingerBytes;) {
    bytes += co_await socket_.async_read_some(net::buffer(drop), into(error));
  }
}

// For the operations from now until the next call: they end with operation_aborted, and timed_out_ says why.
void Connection::set_deadline(Clock::duration from_now) {
  deadline_ = Clock::now() + from_now;
  timed_out_ = false;
  if (deadline_ < timer_.expiry()) arm();
}

void Connection::arm() {
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](const ErrorCode& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    if (Clock::now() < self->deadline_) return self->arm();
    self->timed_out_ = true;
    ErrorCode ignored;
    self->socket_.cancel(ignored);
  });
}

// Notices the client's end of the connection while an answer is made. A half-closed connection counts as closed: that a
// client still reads cannot be known before something is written.
void Connection::watch(const ExchangePtr& exchange) {
  socket_.async_wait(net::ip::tcp::socket::wait_read, [self = shared_from_this(), exchange](const ErrorCode& error) {
    if (error || self->current_ != exchange) return;
    if (!self->read_ahead()) return exchange->cancel();
    if (self->buffer_.size() < kReadAheadBytes) self->watch(exchange);
  });
}

// Keeps what a pipelining client sends for the next request. False at the end of the connection.
bool Connection::read_ahead() {
  ErrorCode error;
  const auto size = socket_.read_some(buffer_.prepare(4096), error);
  buffer_.commit(size);
  return !error || error == net::error::would_block;
}

}  // namespace

void serve_connection(net::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Router> router) {
  auto connection = std::make_shared<Connection>(std::move(socket), context, std::move(router));
  net::co_spawn(
      context.io, [connection]() { return connection->run(); }, net::detached);
}

}  // namespace nacelle::http
