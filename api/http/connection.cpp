// The connection's coroutine, on the server's I/O thread. It holds the lock of all work on exchanges but while it
// waits: what an engine's thread does under that lock (Mailbox) touches no object of Asio's, and wakes the coroutine by
// a task for the I/O thread.
#include "api/http/connection.hpp"

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <optional>
#include <string>
#include <utility>

#include "api/http/dispatch.hpp"
#include "api/http/head.hpp"
#include "api/http/wire.hpp"

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

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

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

class Connection : public Outbox, public std::enable_shared_from_this<Connection> {
 public:
  Connection(net::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Site> site)
      : socket_(std::move(socket)),
        transport_(context.tls ? context.tls->transport(socket_.native_handle())
                               : plain_transport(socket_.native_handle())),
        timer_(context.io),
        wake_(context.io),
        context_(context),
        site_(std::move(site)) {
    ++context_.connections;
    timer_.expires_at(Clock::time_point::max());
    wake_.expires_at(Clock::time_point::max());
  }
  ~Connection() override { --context_.connections; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  net::awaitable<void> run();
  void flush() override;
  bool may_wait() const override;

 private:
  struct Failure {
    bool gone = false;  // nobody is left to tell
    ApiError error;
  };
  // A request from the end of its header to the end of its answer.
  struct Incoming {
    Request request;
    const Route* route = nullptr;
    std::string allow;  // of the path; empty where there is no such
    http::ErrorShape error_shape = error_response;
    std::string_view id_header;
    bool malformed = false;  // the target is no path
    Clock::time_point begin = Clock::now();
  };

  net::awaitable<bool> serve_one();
  net::awaitable<bool> wait_for_request();
  net::awaitable<std::optional<Failure>> read_header(Parser& parser);
  net::awaitable<std::optional<Failure>> read_body(Parser& parser, BodyShare& share);
  net::awaitable<void> refuse(const Incoming& incoming, const ApiError& error);
  net::awaitable<bool> fill();
  bool skip_empty_lines();
  bool parse(Parser& parser, ErrorCode& error);
  Failure failure_of(const ErrorCode& error) const;
  void take_header(Parser& parser, Incoming& incoming) const;
  ExchangePtr begin_exchange(Incoming& incoming);
  net::awaitable<bool> send_answer(Exchange& exchange, HeaderOptions options, unsigned version);
  net::awaitable<bool> send_stream(Exchange& exchange, Framing framing);
  net::awaitable<void> wait_for_output();
  void note_output();
  bool send_straight();
  void take_output(Exchange& exchange);
  net::awaitable<bool> ready(Transfer::Result what);
  net::awaitable<bool> send(std::string_view bytes);
  net::awaitable<void> linger();
  void record(const Request& request, const Incoming& incoming, int status, TokenCounts tokens) const;
  void set_deadline(Clock::duration from_now);
  void arm();
  void begin_ticks();
  void tick();
  void watch(const ExchangePtr& exchange);
  bool read_ahead();
  void keep(std::size_t bytes);

  net::ip::tcp::socket socket_;
  const std::unique_ptr<Transport> transport_;
  beast::flat_buffer buffer_;
  // One timer a connection: operations only move the deadline. (Beast's tcp_stream closes the socket at a time-out, and
  // the client would never read its 408.)
  net::steady_timer timer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool timed_out_ = false;
  net::steady_timer wake_;  // never expires; cancelled when the exchange has output
  ServerContext& context_;
  std::unique_lock<std::mutex> work_{context_.mailbox.work(), std::defer_lock};  // the coroutine's
  std::shared_ptr<const Site> site_;
  ExchangePtr current_;
  Framing framing_ = Framing::kLength;  // of the stream under way
  bool straight_ = false;               // the stream waits for output, and nothing is unsent
  bool flushing_ = false;               // the mailbox will flush it
  bool waking_ = false;                 // a task that wakes the coroutine is on its way
  std::string unsent_;                  // of it, framed: what the socket did not take
  bool waiting_ = false;                // for output; the deadline is then tick_
  bool quiet_ = false;                  // nothing was sent since the last tick
  Clock::time_point tick_;
};

net::awaitable<void> Connection::run() {
  work_.lock();
  ErrorCode ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  while (co_await serve_one()) {
  }
  transport_->close();
  socket_.shutdown(net::ip::tcp::socket::shutdown_both, ignored);
  work_.unlock();
}

// True where the connection is ready for the next request.
net::awaitable<bool> Connection::serve_one() {
  if (!co_await wait_for_request()) co_return false;
  Parser parser;
  parser.header_limit(context_.options.max_header_bytes);
  parser.body_limit(context_.options.max_body_bytes);
  BodyShare share(context_);
  Incoming incoming;
  std::optional<Failure> failure = co_await read_header(parser);
  // Of a body that says that it is too large the header is whole: the failure belongs to its route.
  if (!failure || failure->error.status == 413) take_header(parser, incoming);
  if (!failure && incoming.route && site_->admit) {
    if (const auto refusal = site_->admit(incoming.request, *incoming.route)) failure = Failure{false, *refusal};
  }
  if (!failure)
    if (const auto fault = head_fault(incoming.request)) failure = Failure{false, *fault};
  if (!failure) failure = co_await read_body(parser, share);
  if (failure) {
    if (!failure->gone) co_await refuse(incoming, failure->error);
    co_return false;
  }
  incoming.request.body = std::move(parser.get().body());
  const bool keep_alive = parser.keep_alive();
  const unsigned version = parser.get().version();
  const ActiveCount count(context_);
  current_ = begin_exchange(incoming);
  const HeaderOptions options{Framing::kLength, keep_alive, context_.options.cors_origin, current_->request().id,
                              incoming.id_header};
  const bool sent = co_await send_answer(*current_, options, version);
  const bool cut = current_->cancelled() || !current_->head();
  record(current_->request(), incoming, cut ? 499 : current_->head()->status, current_->tokens());
  current_->on_output({});
  current_.reset();
  ErrorCode ignored;
  socket_.cancel(ignored);  // the watch
  co_return sent;
}

net::awaitable<bool> Connection::wait_for_request() {
  set_deadline(context_.options.idle_timeout);
  bool open = true;
  while (open && skip_empty_lines()) open = co_await fill();
  co_return open;
}

// Waits for bytes and appends them to buffer_. False at the end of the connection and at the deadline.
net::awaitable<bool> Connection::fill() {
  for (;;) {
    const Transfer transfer = transport_->read(context_.scratch.data(), context_.scratch.size());
    if (transfer.result == Transfer::Result::kDone) {
      keep(transfer.bytes);
      co_return true;
    }
    if (!co_await ready(transfer.result)) co_return false;
  }
}

// Appends what lies in the scratch buffer to buffer_.
void Connection::keep(std::size_t bytes) {
  net::buffer_copy(buffer_.prepare(bytes), net::buffer(context_.scratch.data(), bytes));
  buffer_.commit(bytes);
}

// Waits until the call that answered `what` may be repeated; false where that will not be.
net::awaitable<bool> Connection::ready(Transfer::Result what) {
  if (what == Transfer::Result::kClosed || timed_out_) co_return false;
  ErrorCode error;
  const auto kind =
      what == Transfer::Result::kRead ? net::ip::tcp::socket::wait_read : net::ip::tcp::socket::wait_write;
  work_.unlock();
  co_await socket_.async_wait(kind, into(error));
  work_.lock();
  co_return !error;
}

// Some clients end a body with one (RFC 9112, 2.2). True where nothing is left then.
bool Connection::skip_empty_lines() {
  const auto* text = static_cast<const char*>(buffer_.data().data());
  const std::size_t size = buffer_.size();
  std::size_t empty = 0;
  while (empty < size && (text[empty] == '\r' || text[empty] == '\n')) ++empty;
  buffer_.consume(empty);
  return empty == size;
}

// Gives the parser what buffer_ holds. False where it needs more.
bool Connection::parse(Parser& parser, ErrorCode& error) {
  const auto used = parser.put(buffer_.data(), error);
  buffer_.consume(used);
  if (error != beast::http::error::need_more) return true;
  error = {};
  return false;
}

net::awaitable<std::optional<Connection::Failure>> Connection::read_header(Parser& parser) {
  ErrorCode error;
  set_deadline(context_.options.header_timeout);
  while (!parse(parser, error) || (!error && !parser.is_header_done())) {
    if (!co_await fill()) co_return failure_of(error);
  }
  if (error) co_return failure_of(error);
  co_return std::nullopt;
}

net::awaitable<std::optional<Connection::Failure>> Connection::read_body(Parser& parser, BodyShare& share) {
  ErrorCode error;
  // HTTP/1.0 has no such answer.
  if (parser.get().version() >= 11 && !parser.get()[beast::http::field::expect].empty() && !parser.is_done()) {
    if (!co_await send("HTTP/1.1 100 Continue\r\n\r\n")) co_return Failure{true, {}};
  }
  parser.eager(true);
  set_deadline(context_.options.body_timeout);
  while (!parser.is_done()) {
    if ((buffer_.size() == 0 || !parse(parser, error)) && !co_await fill()) co_return failure_of(error);
    if (error) co_return failure_of(error);
    if (!share.set(parser.get().body().size())) {
      co_return Failure{false, {503, "the server holds too many request bodies; try again", "", "overloaded"}};
    }
  }
  co_return std::nullopt;
}

// `error` is empty where the connection ended or its time was up.
Connection::Failure Connection::failure_of(const ErrorCode& error) const {
  using Http = beast::http::error;
  const auto say = [](int status, std::string message, const char* code) {
    return Failure{false, {status, std::move(message), "", code}};
  };
  if (timed_out_) return say(408, "the request did not arrive in time", "request_timeout");
  if (error == Http::body_limit) {
    const std::string limit = std::to_string(context_.options.max_body_bytes);
    return say(413, "the request body is larger than " + limit + " bytes (--max-body-bytes)", "body_too_large");
  }
  if (error == Http::header_limit || error == Http::buffer_overflow) {
    const std::string limit = std::to_string(context_.options.max_header_bytes);
    return say(431, "the request header is larger than " + limit + " bytes (--max-header-bytes)", "header_too_large");
  }
  if (error && error.category() == make_error_code(Http::bad_method).category()) {
    return say(400, "malformed HTTP request: " + error.message(), "bad_http");
  }
  return Failure{true, {}};
}

void Connection::take_header(Parser& parser, Incoming& incoming) const {
  const auto& message = parser.get();
  Request& request = incoming.request;
  request.method = message.method_string();
  for (const auto& field : message) request.headers.emplace_back(lower(field.name_string()), field.value());
  const std::string* id = request.header("x-request-id");
  request.id = id && is_request_id(*id) ? *id : random_request_id();
  const auto path = decode_path(message.target());
  auto query = decode_query(message.target());
  incoming.malformed = !path || !query;
  request.path = path.value_or("");
  request.query = std::move(query).value_or(decltype(request.query)());
  Router::Match match = site_->router.find(request.method, request.path);
  request.parameter = std::move(match.parameter);
  request.second = std::move(match.second);
  incoming.route = match.route;
  incoming.allow = std::move(match.allow);
  incoming.error_shape = match.error_shape;
  incoming.id_header = match.id_header;
}

// Answers before the body was read, or instead of reading it; the connection ends.
net::awaitable<void> Connection::refuse(const Incoming& incoming, const ApiError& error) {
  record(incoming.request, incoming, error.status, {});
  const std::string& id = incoming.request.id;
  const HeaderOptions options{Framing::kLength, false, context_.options.cors_origin, id, incoming.id_header};
  if (co_await send(closing_answer(incoming.error_shape(error, id), options))) co_await linger();
}

void Connection::record(const Request& request, const Incoming& incoming, int status, TokenCounts tokens) const {
  if (!context_.options.on_answer) return;
  const std::chrono::duration<double> seconds = Clock::now() - incoming.begin;
  context_.options.on_answer(
      {request, incoming.route ? incoming.route->pattern : std::string_view(), status, tokens, seconds.count()});
}

ExchangePtr Connection::begin_exchange(Incoming& incoming) {
  auto exchange = std::make_shared<Exchange>(
      std::move(incoming.request),
      [&mailbox = context_.mailbox](Exchange::Task task, bool short_) { mailbox.post(std::move(task), short_); },
      context_.options.max_unsent_bytes);
  exchange->on_output([self = weak_from_this()] {
    if (const auto alive = self.lock()) alive->note_output();
  });
  if (incoming.route) {
    dispatch(context_, site_, *incoming.route, exchange);
  } else {
    const std::string near = incoming.allow.empty() ? site_->router.near(exchange->request().path) : std::string();
    exchange->respond(no_route(exchange->request(), incoming.malformed, incoming.allow, near, incoming.error_shape));
  }
  if (!exchange->head()) watch(exchange);
  return exchange;
}

// True where the connection can carry another request.
net::awaitable<bool> Connection::send_answer(Exchange& exchange, HeaderOptions options, unsigned version) {
  begin_ticks();
  while (!exchange.head() && !exchange.cancelled()) co_await wait_for_output();
  if (exchange.cancelled()) co_return false;

  const Response& head = *exchange.head();
  options.keep_alive = options.keep_alive && !context_.closing;
  if (exchange.streaming()) {
    options.framing = version >= 11 ? Framing::kChunked : Framing::kClose;
    options.keep_alive = options.keep_alive && version >= 11;
    unsent_ = header_text(head, options);  // goes out with the first piece
    co_return co_await send_stream(exchange, options.framing) && options.keep_alive;
  }
  std::string text = header_text(head, options);
  if (exchange.request().method != "HEAD") text += head.body;
  co_return co_await send(text) && options.keep_alive;
}

net::awaitable<bool> Connection::send_stream(Exchange& exchange, Framing framing) {
  framing_ = framing;
  while (!exchange.cancelled()) {
    const bool last = exchange.finished();
    take_output(exchange);
    std::string text = std::exchange(unsent_, {});
    if (last && framing == Framing::kChunked) text += kLastChunk;
    if (!text.empty() && !co_await send(text)) {
      exchange.cancel();
      co_return false;
    }
    if (last) co_return true;
    if (!text.empty()) {
      exchange.note_sent();
      continue;
    }
    straight_ = true;
    co_await wait_for_output();
    straight_ = false;
  }
  co_return false;
}

void Connection::take_output(Exchange& exchange) {
  const std::string_view text = exchange.unsent();
  if (!text.empty() && framing_ == Framing::kChunked) {
    add_chunk(unsent_, text);
  } else {
    unsent_ += text;
  }
  exchange.drop_unsent();
}

void Connection::note_output() {
  if (!std::exchange(flushing_, true)) context_.mailbox.flush_later(shared_from_this());
}

void Connection::flush() {
  flushing_ = false;
  if (straight_ && send_straight()) return;
  straight_ = false;
  if (std::exchange(waking_, true)) return;
  net::post(context_.io, [self = weak_from_this()] {
    if (const auto alive = self.lock()) alive->wake_.cancel();
  });
}

// A stream's first piece finds the coroutine at work, and its last one ends what waits.
bool Connection::may_wait() const { return straight_ && !current_->finished() && !current_->cancelled(); }

// Most pieces of a stream find the coroutine waiting and the socket ready: they go out from here, without a turn of the
// loop, and often from an engine's thread. False where the coroutine must see to it.
bool Connection::send_straight() {
  if (current_->finished() || current_->cancelled()) return false;
  take_output(*current_);
  if (unsent_.empty()) return true;
  const Transfer transfer = transport_->write(unsent_.data(), unsent_.size());
  quiet_ = false;
  if (transfer.result == Transfer::Result::kDone) unsent_.erase(0, transfer.bytes);
  return unsent_.empty();
}

// Nothing can be missed: the task that note_output() posts runs on this thread, so only while the coroutine waits.
net::awaitable<void> Connection::wait_for_output() {
  ErrorCode ignored;
  deadline_ = tick_;
  if (deadline_ < timer_.expiry()) arm();
  waking_ = false;
  waiting_ = true;
  work_.unlock();
  co_await wake_.async_wait(into(ignored));
  work_.lock();
  waiting_ = false;
}

net::awaitable<bool> Connection::send(std::string_view bytes) {
  quiet_ = false;
  set_deadline(context_.options.write_timeout);
  while (!bytes.empty()) {
    const Transfer transfer = transport_->write(bytes.data(), bytes.size());
    if (transfer.result == Transfer::Result::kDone) {
      bytes.remove_prefix(transfer.bytes);
      set_deadline(context_.options.write_timeout);
    } else if (!co_await ready(transfer.result)) {
      co_return false;
    }
  }
  co_return true;
}

// A close with unread bytes resets the connection, and the refusal may be lost on its way.
net::awaitable<void> Connection::linger() {
  transport_->close();
  ErrorCode ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  set_deadline(kLingerTime);
  for (std::size_t bytes = 0; bytes < kLingerBytes;) {
    const Transfer transfer = transport_->read(context_.scratch.data(), context_.scratch.size());
    bytes += transfer.bytes;
    if (transfer.result != Transfer::Result::kDone && !co_await ready(transfer.result)) break;
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
    // Nothing times out while an answer is waited for, however late this thread comes: the deadline is the next tick.
    if (self->waiting_) return self->tick(), self->arm();
    if (Clock::now() < self->deadline_) return self->arm();
    self->timer_.expires_at(Clock::time_point::max());  // so that the next deadline, of lingering, arms it again
    self->timed_out_ = true;
    ErrorCode ignored;
    self->socket_.cancel(ignored);
  });
}

// While an answer is waited for the deadline is the next tick. Two to ServerOptions::keep_alive, so that who sends a
// token, on whatever thread, need only say that it was: no clock is read for it, and no timer moved.
void Connection::begin_ticks() {
  const Clock::duration interval = context_.options.keep_alive;
  tick_ = interval > Clock::duration::zero() ? Clock::now() + interval / 2 : Clock::time_point::max();
  quiet_ = false;
}

void Connection::tick() {
  const std::lock_guard work(context_.mailbox.work());
  if (Clock::now() < tick_) return;
  tick_ = deadline_ = Clock::now() + Clock::duration(context_.options.keep_alive) / 2;
  // Where the coroutine was woken there is output, or bytes that a slow reader has not taken.
  if (std::exchange(quiet_, true) && !waking_) current_->note_idle();
}

// Notices the client's end of the connection while an answer is made. A half-closed connection counts as closed: that a
// client still reads cannot be known before something is written.
void Connection::watch(const ExchangePtr& exchange) {
  socket_.async_wait(net::ip::tcp::socket::wait_read, [self = shared_from_this(), exchange](const ErrorCode& error) {
    const std::lock_guard work(self->context_.mailbox.work());
    if (error || self->current_ != exchange) return;
    if (!self->read_ahead()) return exchange->cancel();
    if (self->buffer_.size() < kReadAheadBytes) self->watch(exchange);
  });
}

// Keeps what a pipelining client sends for the next request. False at the end of the connection.
bool Connection::read_ahead() {
  while (buffer_.size() < kReadAheadBytes) {
    const Transfer transfer = transport_->read(context_.scratch.data(), context_.scratch.size());
    if (transfer.result != Transfer::Result::kDone) return transfer.result != Transfer::Result::kClosed;
    keep(transfer.bytes);
  }
  return true;
}

}  // namespace

void ServerContext::set_alarm(MailClock::time_point when) {
  if (std::exchange(alarm_set, true)) return;
  alarm.expires_at(when);
  alarm.async_wait([this](const ErrorCode& error) {
    if (error) return;
    alarm_set = false;
    mailbox.flush_late();
  });
}

void serve_connection(net::ip::tcp::socket socket, ServerContext& context, std::shared_ptr<const Site> site) {
  auto connection = std::make_shared<Connection>(std::move(socket), context, std::move(site));
  net::co_spawn(
      context.io, [connection]() { return connection->run(); }, net::detached);
}

}  // namespace nacelle::http
