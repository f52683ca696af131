// The HTTP server over real sockets, with handlers of our own: framing, limits, time-outs, cancels.
#include "api/http/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "api/http/slow_lane.hpp"
#include "core/base/turn.hpp"

using namespace nacelle;
using namespace nacelle::http;
using namespace std::chrono_literals;

namespace {

class Client {
 public:
  explicit Client(std::uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() { close(); }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void send(const std::string& text) { (void)::send(socket_, text.data(), text.size(), MSG_NOSIGNAL); }

  // What arrives until `end` has been seen, the connection closes or `limit` passes.
  std::string read_until(const std::string& end, std::chrono::milliseconds limit = 3s) {
    std::string text;
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (text.find(end) == std::string::npos || end.empty()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd wait{socket_, POLLIN, 0};
      if (left.count() <= 0 || poll(&wait, 1, static_cast<int>(left.count())) <= 0) return text + "[timeout]";
      char buffer[4096];
      const auto size = recv(socket_, buffer, sizeof buffer, 0);
      if (size <= 0) return text + "[closed]";
      text.append(buffer, static_cast<std::size_t>(size));
    }
    return text;
  }
  std::string read_all() { return read_until(""); }
  // What is there now, or comes soon.
  std::string read_some() {
    std::string text(4096, '\0');
    const auto size = recv(socket_, text.data(), text.size(), 0);
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return text;
  }

 private:
  int socket_;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 300; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

ServerOptions small_limits() {
  ServerOptions options;
  options.max_header_bytes = 2048;
  options.max_body_bytes = 100'000;
  options.max_connections = 8;
  options.max_unsent_bytes = 64 << 10;
  options.header_timeout = 300ms;
  options.body_timeout = 300ms;
  options.idle_timeout = 500ms;
  options.write_timeout = 300ms;
  options.keep_alive = 200ms;
  return options;
}

// A server whose handlers a test can watch.
struct Fixture {
  std::atomic<int> cancels{0}, streams{0}, idles{0};
  Server server{small_limits()};
  std::uint16_t port = server.listen(
      "127.0.0.1", 0,
      Router({
          {"GET", "/hello", answer([](const Request&) {
             return Response{200, "hello", "text/plain", {}};
           })},
          {"POST", "/echo", answer([](const Request& r) {
             return Response{200, r.body, "text/plain", {}};
           }),
           Where::kWorker},
          {"GET", "/boom", answer([](const Request&) -> Response { throw std::runtime_error("secret"); }),
           Where::kWorker},
          {"GET", "/queue-full",
           answer([](const Request&) -> Response { throw BusyError("the queue is full", std::chrono::seconds(17)); })},
          {"GET", "/three",
           [](const ExchangePtr& exchange) {
             exchange->start_stream("text/event-stream");
             for (const char* text : {"one ", "two ", "three"}) exchange->write(text);
             exchange->finish();
           }},
          {"GET", "/never", [this](const ExchangePtr& exchange) { exchange->on_cancel([this] { ++cancels; }); }},
          {"GET", "/flood", [this](const ExchangePtr& exchange) { flood(exchange); }},
          {"GET", "/quiet",
           [this](const ExchangePtr& exchange) {
             exchange->on_idle([this, raw = exchange.get()] {
               raw->start_stream("text/event-stream");
               raw->write(++idles < 4 ? kKeepAlive : "the end");
               if (idles == 4) raw->finish();
             });
           }},
          {"GET", "/held",
           [this](const ExchangePtr& exchange) {
             exchange->on_cancel([this] { ++cancels; });
             exchange->on_idle([this, raw = exchange.get()] {
               if (++idles == 1) return std::this_thread::sleep_for(150ms);  // beyond the next tick, and nothing is said
               if (idles > 2) return;
               raw->start_stream("text/plain");
               raw->write("late ");
             });
           }},
          {"GET", "/busy", [this](const ExchangePtr& exchange) { busy(exchange); }},
          {"GET", "/pour",
           [this](const ExchangePtr& exchange) {
             exchange->on_cancel([this] { ++cancels; });
             exchange->on_idle([this] { ++idles; });
             exchange->start_stream("text/plain");
             exchange->on_sent([raw = exchange.get()] { raw->write(std::string(16 << 10, 'x')); });
             exchange->write("x");
           }},
          {"GET", "/count", [this](const ExchangePtr& exchange) { count(exchange); }},
      }));
  std::atomic<std::size_t> received{0};  // bytes of /count
  std::thread counting;

  ~Fixture() {
    if (counting.joinable()) counting.join();
  }
  // As an engine's thread hands out tokens: a piece a turn. It waits for a reader that is far behind.
  static constexpr int kLines = 20'000;
  void count(const ExchangePtr& exchange) {
    exchange->on_cancel([this] { ++cancels; });
    exchange->start_stream("text/plain");
    counting = std::thread([this, exchange] {
      std::size_t sent = 0;
      for (int i = 0; i < kLines && cancels == 0; ++i) {
        const std::string line = std::to_string(i) + "\n";
        while (sent > received + (40u << 10) && cancels == 0) std::this_thread::yield();
        sent += line.size();
        const Turn turn;
        exchange->post_short([exchange, line] { exchange->write(line); });
      }
      exchange->post([exchange] { exchange->finish(); });
    });
  }

  // A word every few milliseconds, so that a keep-alive is never due.
  void busy(const ExchangePtr& exchange) {
    exchange->on_idle([this] { ++idles; });
    exchange->start_stream("text/plain");
    counting = std::thread([exchange] {
      for (int i = 0; i < 150; ++i) {
        std::this_thread::sleep_for(5ms);
        const Turn turn;
        exchange->post_short([exchange] { exchange->write("word "); });
      }
      exchange->post([exchange] { exchange->finish(); });
    });
  }

  void flood(const ExchangePtr& exchange) {
    ++streams;
    exchange->on_cancel([this] { ++cancels; });
    exchange->start_stream("text/plain");
    pour(exchange);
  }
  static void pour(const ExchangePtr& exchange) {
    if (exchange->cancelled()) return;
    exchange->write(std::string(16 << 10, 'x'));
    exchange->post([exchange] { pour(exchange); });
  }
};

const std::string kGet = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

std::string post(const std::string& body, const std::string& header = "") {
  return "POST /echo HTTP/1.1\r\nHost: x\r\n" + header + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a connection carries request after request, also pipelined") {
  Client client(port);
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    const std::string text = client.read_until("hello");
    CHECK(has(text, "HTTP/1.1 200 OK"));
    CHECK(has(text, "Connection: keep-alive"));
  }
  client.send(post("first!") + post("second") + "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::string text = client.read_all();
  CHECK(text.find("first!") < text.find("second"));
  CHECK(text.find("second") < text.find("hello[closed]"));
}

TEST_CASE_METHOD(Fixture, "HEAD, OPTIONS, 404 and 405") {
  Client client(port);
  client.send("HEAD /hello HTTP/1.1\r\n\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  CHECK(has(head, "Content-Length: 5"));
  CHECK(head.ends_with("\r\n\r\n"));
  client.send("OPTIONS /echo HTTP/1.1\r\n\r\n");
  const std::string options = client.read_until("\r\n\r\n");
  CHECK(has(options, "204 No Content"));
  CHECK(has(options, "Allow: POST, OPTIONS"));
  client.send("GET /nowhere HTTP/1.1\r\n\r\n");
  CHECK(has(client.read_until("}}"), R"("code":"unknown_url")"));
  client.send("DELETE /hello HTTP/1.1\r\n\r\n");
  const std::string text = client.read_until("}}");
  CHECK(has(text, "405 Method Not Allowed"));
  CHECK(has(text, "Allow: GET, HEAD, OPTIONS"));
}

TEST_CASE_METHOD(Fixture, "bodies: chunked, awaited with 100-continue, too large") {
  Client client(port);
  client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
  CHECK(has(client.read_until("abcdefg"), "Content-Length: 7"));
  client.send("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(client.read_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  CHECK(has(client.read_until("ok"), "200 OK"));

  const std::string large(100'001, 'x');
  client.send(post(large));
  const std::string refused = client.read_all();
  CHECK(has(refused, "413 Content Too Large"));
  CHECK(has(refused, "[closed]"));
  Client chunked(port);
  chunked.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n" + large + "\r\n0\r\n\r\n");
  CHECK(has(chunked.read_all(), "413 Content Too Large"));
}

TEST_CASE_METHOD(Fixture, "an expectation that is not met is refused, and HTTP/1.0 is not asked to go on") {
  for (const char* expected : {"a-miracle", "100-continue, a-miracle", "100-continue\r\nExpect: a-miracle"}) {
    Client client(port);
    client.send("POST /echo HTTP/1.1\r\nExpect: " + std::string(expected) + "\r\nContent-Length: 2\r\n\r\nok");
    const std::string refused = client.read_all();
    CHECK(has(refused, "HTTP/1.1 417 Expectation Failed"));
    CHECK(has(refused, "a-miracle'; only '100-continue' is known here"));
    CHECK(has(refused, "[closed]"));
  }
  Client old(port);
  old.send("POST /echo HTTP/1.0\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(old.read_until("\r\n\r\n", 50ms) == "[timeout]");
  old.send("ok");
  CHECK(old.read_until("ok").starts_with("HTTP/1.1 200 OK"));
}

TEST_CASE_METHOD(Fixture, "a compressed body is refused by name") {
  Client client(port);
  client.send("POST /echo HTTP/1.1\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok");
  CHECK(has(client.read_until("ok"), "200 OK"));
  client.send("POST /echo HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b");
  const std::string refused = client.read_all();
  CHECK(has(refused, "415 Unsupported Media Type"));
  CHECK(has(refused, "Content-Encoding 'gzip'"));
}

TEST_CASE_METHOD(Fixture, "what a proxy may read otherwise is refused") {
  for (const auto& [fields, status] :
       {std::pair("Transfer-Encoding: identity\r\nContent-Length: 2", "501 Not Implemented"),
        std::pair("Transfer-Encoding: gzip, chunked", "501 Not Implemented"),
        std::pair("Host: a\r\nHost: b\r\nContent-Length: 2", "400 Bad Request"),
        std::pair("Content-Length: 2\r\nContent-Length: 3", "400 Bad Request"),
        std::pair("Content-Length: 2\r\nTransfer-Encoding: chunked", "400 Bad Request")}) {
    INFO(fields);
    Client client(port);
    client.send(std::string("POST /echo HTTP/1.1\r\n") + fields + "\r\n\r\nok");
    CHECK(has(client.read_all(), status));
  }
}

TEST_CASE_METHOD(Fixture, "empty lines between requests are skipped") {
  Client client(port);
  client.send("\r\n" + post("first!") + "\r\n");
  CHECK(has(client.read_until("first!"), "200 OK"));
  client.send("\r\n\n" + kGet);
  CHECK(has(client.read_until("hello"), "200 OK"));
}

TEST_CASE_METHOD(Fixture, "malformed and oversize headers") {
  for (const char* bad :
       {"nonsense\r\n\r\n", "GET /hello HTTP/3.0\r\n\r\n", "GET /hello HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}) {
    INFO(bad);
    Client client(port);
    client.send(bad);
    const std::string text = client.read_all();
    CHECK(has(text, "HTTP/1.1 400 Bad Request"));
    CHECK(has(text, "[closed]"));
  }
  Client client(port);
  client.send("GET /hello HTTP/1.1\r\nX: " + std::string(3000, 'a') + "\r\n\r\n");
  CHECK(has(client.read_all(), "431 "));
  Client target(port);
  target.send("GET /%zz HTTP/1.1\r\n\r\n");
  CHECK(has(target.read_until("}}"), "400 Bad Request"));
}

TEST_CASE_METHOD(Fixture, "slow clients: header, body, idle") {
  Client header(port), body(port), idle(port), silent(port);
  header.send("GET /hello HT");
  body.send("POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  idle.send(kGet);
  CHECK(has(header.read_all(), "408 Request Timeout"));
  CHECK(has(body.read_all(), "408 Request Timeout"));
  CHECK(has(idle.read_all(), "hello[closed]"));
  CHECK(silent.read_all() == "[closed]");
}

TEST_CASE_METHOD(Fixture, "failures of handlers are answers") {
  Client client(port);
  client.send("GET /boom HTTP/1.1\r\n\r\n");
  const std::string boom = client.read_until("}}");
  CHECK(has(boom, "500 Internal Server Error"));
  CHECK_FALSE(has(boom, "secret"));
  client.send("GET /queue-full HTTP/1.1\r\n\r\n");
  const std::string full = client.read_until("}}");
  CHECK(has(full, "429 Too Many Requests"));
  CHECK(has(full, "Retry-After: 17\r\n"));
}

TEST_CASE_METHOD(Fixture, "streams are chunked, and end with the connection for HTTP/1.0") {
  Client client(port);
  client.send("GET /three HTTP/1.1\r\n\r\n" + kGet);
  const std::string text = client.read_until("hello");
  CHECK(has(text, "Transfer-Encoding: chunked"));
  CHECK(has(text, "d\r\none two three\r\n0\r\n\r\n"));
  Client old(port);
  old.send("GET /three HTTP/1.0\r\n\r\n");
  CHECK(has(old.read_all(), "\r\n\r\none two three[closed]"));
}

TEST_CASE_METHOD(Fixture, "a client that leaves cancels its request") {
  {
    Client client(port);
    client.send("GET /never HTTP/1.1\r\n\r\n");
    CHECK(eventually([&] { return server.active() == 1; }));
    CHECK(cancels == 0);
  }
  CHECK(eventually([&] { return cancels == 1; }));
  CHECK(eventually([&] { return server.active() == 0; }));
  // Bytes of a next request are no reason; the end behind them is.
  Client pipelining(port);
  pipelining.send("GET /never HTTP/1.1\r\n\r\n" + kGet);
  std::this_thread::sleep_for(50ms);
  CHECK(cancels == 1);
  pipelining.close();
  CHECK(eventually([&] { return cancels == 2; }));
}

TEST_CASE_METHOD(Fixture, "a client that keeps its side open after a 408 does not keep its connection") {
  Client client(port);
  client.send("GET /hello HTTP/1.1\r\nX-Slow: ");
  CHECK(has(client.read_until("}}"), "408 Request Timeout"));
  CHECK(server.connections() == 1);
  CHECK(eventually([&] { return server.connections() == 0; }));
}

TEST_CASE_METHOD(Fixture, "a client that does not read is cancelled, and others are served") {
  Client lazy(port, 4096);
  lazy.send("GET /flood HTTP/1.1\r\n\r\n");
  CHECK(eventually([&] { return cancels == 1; }));
  CHECK(streams == 1);
  Client client(port);
  client.send(kGet);
  CHECK(has(client.read_until("hello"), "200 OK"));
}

TEST_CASE_METHOD(Fixture, "a stream that has nothing to send keeps its client patient, header first") {
  const auto begin = std::chrono::steady_clock::now();
  Client client(port);
  client.send("GET /quiet HTTP/1.1\r\n\r\n" + kGet);
  const std::string text = client.read_until("hello");
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(text.starts_with("HTTP/1.1 200 OK"));
  const std::string word = "e\r\n: keep-alive\n\n\r\n";
  CHECK(has(text, "\r\n\r\n" + word + word + word + "7\r\nthe end\r\n0\r\n\r\nHTTP/1.1 200 OK"));
  CHECK(took >= 4 * 100ms);
}

// As when a crowded machine does not let it run, or a person stops the process for a while.
TEST_CASE_METHOD(Fixture, "a thread that is held up in a tick ticks on, and still sees its client leave") {
  Client client(port);
  client.send("GET /held HTTP/1.1\r\n\r\n");
  CHECK(has(client.read_until("late "), "200 OK"));
  CHECK(idles >= 2);
  CHECK(cancels == 0);
  client.close();
  CHECK(eventually([&] { return cancels == 1; }));
}

TEST_CASE_METHOD(Fixture, "nothing is added to a stream that goes on, nor to one that its reader does not take") {
  Client client(port);
  client.send("GET /busy HTTP/1.0\r\n\r\n");
  client.read_all();
  CHECK(idles <= 1);  // where the machine holds up its thread
  idles = 0;
  Client lazy(port, 4096);
  lazy.send("GET /pour HTTP/1.1\r\n\r\n");
  CHECK(eventually([&] { return cancels == 1; }));
  CHECK(idles == 0);
}

TEST_CASE_METHOD(Fixture,
                 "pieces that an engine's thread sends itself arrive whole and in order, also at a slow reader") {
  Client client(port, GENERATE(0, 4096));
  client.send("GET /count HTTP/1.0\r\n\r\n");
  std::string text = client.read_until("\r\n\r\n");
  text.erase(0, text.find("\r\n\r\n") + 4);
  received = text.size();
  for (int i = 0; i < kLines; ++i) {
    const std::string line = std::to_string(i) + "\n";
    while (text.size() < line.size() && cancels == 0) {
      const std::string more = client.read_some();
      received += more.size();
      text += more;
    }
    REQUIRE(text.starts_with(line));
    text.erase(0, line.size());
  }
  CHECK(client.read_all() == "[closed]");
  CHECK(cancels == 0);
}

TEST_CASE_METHOD(Fixture, "connections are counted") {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(port));
    clients.back()->send(kGet);
    CHECK(has(clients.back()->read_until("hello"), "200 OK"));
  }
  Client extra(port);
  CHECK(has(extra.read_all(), "503 Service Unavailable"));
  clients.clear();
  CHECK(eventually([&] {
    Client client(port);
    client.send(kGet);
    return has(client.read_until("hello"), "200 OK");
  }));
}

TEST_CASE_METHOD(Fixture, "when the server is about to end, answers close their connections") {
  server.close_after_answers();
  Client client(port);
  client.send(kGet);
  CHECK(has(client.read_all(), "Connection: close"));
}

TEST_CASE_METHOD(Fixture, "an address in use is refused by name") {
  try {
    server.listen("127.0.0.1", port, Router({}));
    FAIL("bound twice");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUnavailable);
    CHECK(has(error.what(), std::to_string(port)));
  }
}

TEST_CASE("a request is admitted before its body is read, and recorded when it is over") {
  std::vector<std::string> records;  // of the I/O thread; read when that has ended
  {
    ServerOptions options = small_limits();
    options.on_answer = [&](const RequestRecord& record) {
      records.push_back(std::string(record.route) + " " + std::to_string(record.status) + " " + record.request.client +
                        " " + std::to_string(record.tokens.completion));
    };
    Server server{options};
    const auto echo = [](const ExchangePtr& exchange) {
      exchange->set_tokens({1, 2});
      exchange->respond({200, exchange->request().body, "text/plain", {}});
    };
    const auto admit = [](Request& request, const Route& route) -> std::optional<ApiError> {
      const std::string* key = request.header("x-api-key");
      if (route.access == Access::kOpen) return std::nullopt;
      if (!key) return ApiError{401, "no key", "", "missing_api_key"};
      request.client = *key;
      return std::nullopt;
    };
    const auto port = server.listen("127.0.0.1", 0,
                                    Router({{"POST", "/echo", echo},
                                            {"GET", "/open", answer([](const Request& request) {
                                               return Response{200, request.id, "text/plain", {}};
                                             }),
                                             Where::kIoThread, Access::kOpen}}),
                                    admit);
    Client stranger(port);
    stranger.send("POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
    const std::string refused = stranger.read_all();
    CHECK(has(refused, "401 Unauthorized"));
    CHECK(has(refused, "WWW-Authenticate: Bearer"));
    CHECK(has(refused, "X-Request-Id: req-"));
    Client client(port);
    client.send(post("hello", "X-Api-Key: ann\r\nX-Request-Id: mine\r\n"));
    CHECK(has(client.read_until("hello"), "X-Request-Id: mine\r\n"));
    client.send("GET /open HTTP/1.1\r\nX-Request-Id: yours\r\n\r\n");
    CHECK(has(client.read_until("\r\n\r\nyours"), "200 OK"));
    client.send("GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n");
    CHECK(has(client.read_all(), "404 Not Found"));
  }
  CHECK(records == std::vector<std::string>{"/echo 401  0", "/echo 200 ann 2", "/open 200  0", " 404  0"});
}

TEST_CASE("requests that take long wait for each other, and nobody for them") {
  struct Gate {
    std::atomic<int> begun{0};
    std::atomic<bool> open{false};
    ~Gate() { open = true; }
  };
  const auto gate = std::make_shared<Gate>();
  const auto slowly = [gate = gate.get()](const Request&) -> Response {
    if (Pacing::now() == Pace::kQuick) throw TakesLong();
    if (Pacing::now() == Pace::kRefused) throw BusyError("too slow", std::chrono::seconds(1));
    for (++gate->begun; !gate->open;) std::this_thread::sleep_for(1ms);
    return {200, "slowly", "text/plain", {}};
  };
  ServerOptions options = small_limits();
  options.max_connections = 100;
  Server server(options);
  const std::shared_ptr<void> opened(nullptr, [gate](void*) { gate->open = true; });  // before the server ends
  const auto port = server.listen("127.0.0.1", 0,
                                  Router({{"GET", "/slow", answer(slowly), Where::kWorker},
                                          {"GET", "/hello", answer([](const Request&) {
                                             return Response{200, "hello", "text/plain", {}};
                                           }),
                                           Where::kWorker}}));
  std::list<Client> slow;
  const auto ask = [&]() -> Client& {
    slow.emplace_back(port).send("GET /slow HTTP/1.1\r\n\r\n");
    return slow.back();
  };
  for (std::size_t i = 0; i < SlowLane::kMost + 1; ++i) ask();
  std::string refused;
  while (!has(refused, "429 Too Many Requests")) {  // once all of the others wait
    REQUIRE(slow.size() < 2 * SlowLane::kMost);
    refused = ask().read_until("}}", 200ms);
  }
  CHECK(has(refused, "too slow"));
  slow.pop_back();
  Client other(port);
  other.send(kGet);
  CHECK(has(other.read_until("hello"), "200 OK"));
  CHECK(gate->begun <= 1);
  slow.front().close();  // the one that runs, or one that will not
  gate->open = true;
  slow.pop_front();
  std::size_t served = 0;  // workers may have offered them in another order
  for (Client& one : slow) served += has(one.read_until("\r\n\r\n"), "200 OK");
  CHECK(served + 1 >= SlowLane::kMost);
}

TEST_CASE("a server may end while requests run") {
  std::atomic<int> ran{0};
  {
    Server server{small_limits()};
    const auto port =
        server.listen("127.0.0.1", 0, Router({{"GET", "/slow", [&](const ExchangePtr&) { ++ran; }, Where::kWorker}}));
    Client client(port);
    client.send("GET /slow HTTP/1.1\r\n\r\n");
    CHECK(eventually([&] { return ran == 1; }));
  }
  CHECK(ran == 1);
}
