// Blocking sockets with the kernel's own time limits, OpenSSL over them, Beast's parser for what comes back.
#include "api/http/client.hpp"

#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

#include "core/base/error.hpp"

namespace nacelle::http {
namespace {

namespace beast = boost::beast;

constexpr std::size_t kPiece = 64u << 10;

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

[[noreturn]] void fail(const Url& url, const std::string& what) {
  throw Error(ErrorKind::kUnavailable, url.origin() + ": " + what);
}

std::string system_reason(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS ? "no answer in time" : std::strerror(error);
}

// "host", "[::1]", "host:8080".
std::string authority(const Url& url, bool with_port) {
  const bool v6 = url.host.find(':') != std::string::npos;
  const bool usual = url.port == (url.tls ? "443" : "80");
  return (v6 ? "[" + url.host + "]" : url.host) + (usual && !with_port ? "" : ":" + url.port);
}

class Socket {
 public:
  Socket(const Url& url, std::chrono::milliseconds timeout) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int code = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found); code != 0)
      fail(url, std::string("the host's address is not known: ") + gai_strerror(code));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
    int error = 0;
    for (const addrinfo* address = found; address && descriptor_ < 0; address = address->ai_next)
      error = connect_to(*address, timeout);
    if (descriptor_ < 0) fail(url, "cannot connect: " + system_reason(error));
  }
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int get() const noexcept { return descriptor_; }

 private:
  // 0, or errno.
  int connect_to(const addrinfo& address, std::chrono::milliseconds timeout) {
    descriptor_ = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
    if (descriptor_ < 0) return errno;
    const auto ms = timeout.count();
    const timeval limit{static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // counts for connect() too
    if (::connect(descriptor_, address.ai_addr, address.ai_addrlen) == 0) return 0;
    const int error = errno;
    ::close(std::exchange(descriptor_, -1));
    return error;
  }

  int descriptor_ = -1;
};

std::string tls_reason(SSL* ssl, int saved_errno) {
  if (const long code = SSL_get_verify_result(ssl); code != X509_V_OK)
    return std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(code) +
           " (SSL_CERT_FILE names another file of authorities)";
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  if (code == 0) return saved_errno == 0 ? "the connection ended" : system_reason(saved_errno);
  ERR_error_string_n(code, text.data(), text.size());
  return std::string("TLS failed: ") + text.data();
}

class Connection {
 public:
  explicit Connection(const ClientRequest& request)
      : url_(request.url), socket_(request.proxy ? *request.proxy : request.url, request.timeout) {
    if (url_.tls && request.proxy) tunnel(*request.proxy);
    if (url_.tls) start_tls(request.verify);
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::ptrdiff_t sent = ssl_ ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                                       : ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0 && !ssl_ && errno == EINTR) continue;
      if (sent <= 0) fail(url_, "cannot send the request: " + reason());
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  // 0 at the end.
  std::size_t read(char* data, std::size_t size) {
    for (;;) {
      errno = 0;
      const std::ptrdiff_t got =
          ssl_ ? SSL_read(ssl_.get(), data, static_cast<int>(size)) : ::recv(socket_.get(), data, size, 0);
      if (got > 0) return static_cast<std::size_t>(got);
      if (ssl_ ? ended(static_cast<int>(got)) : got == 0) return 0;
      if (errno != EINTR) fail(url_, "the connection broke: " + reason());
    }
  }

 private:
  // Asks the proxy for a way through. Nothing follows its answer: the other end waits for TLS to begin.
  void tunnel(const Url& proxy) {
    const std::string to = authority(url_, true);
    write("CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n\r\n");
    std::string answer;
    for (std::array<char, 1024> piece; answer.find("\r\n\r\n") == std::string::npos;) {
      const std::size_t got = read(piece.data(), piece.size());
      if (got == 0 || answer.size() > kPiece) fail(proxy, "the proxy gave no answer to CONNECT");
      answer.append(piece.data(), got);
    }
    const std::string line = answer.substr(0, answer.find('\r'));
    if (line.find(" 200") == std::string::npos) fail(proxy, "the proxy answered CONNECT " + to + " with " + line);
  }

  void start_tls(bool verify) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets whose other end may have gone
    context_.reset(SSL_CTX_new(TLS_client_method()));
    if (context_) ssl_.reset(SSL_new(context_.get()));
    if (!ssl_) throw Error(ErrorKind::kResource, "cannot start TLS");
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_set_options(ssl_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);  // the length tells whether a body is whole
    SSL_set_mode(ssl_.get(), SSL_MODE_AUTO_RETRY);
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), url_.host.c_str()) != 1) {
      SSL_set_tlsext_host_name(ssl_.get(), url_.host.c_str());
      SSL_set1_host(ssl_.get(), url_.host.c_str());
    }
    if (verify) {
      SSL_CTX_set_default_verify_paths(context_.get());
      SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER, nullptr);
    }
    ERR_clear_error();
    errno = 0;
    if (SSL_set_fd(ssl_.get(), socket_.get()) != 1 || SSL_connect(ssl_.get()) != 1) fail(url_, reason());
  }

  bool ended(int returned) const { return SSL_get_error(ssl_.get(), returned) == SSL_ERROR_ZERO_RETURN; }

  std::string reason() const {
    const int saved = errno;
    return ssl_ ? tls_reason(ssl_.get(), saved) : system_reason(saved);
  }

  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  const Url& url_;
  Socket socket_;
  std::unique_ptr<SSL_CTX, Free> context_;
  std::unique_ptr<SSL, Free> ssl_;
};

std::string request_text(const ClientRequest& request) {
  const Url& url = request.url;
  const std::string target = request.proxy && !url.tls ? url.origin() + url.target : url.target;
  std::string text =
      request.method + " " + target + " HTTP/1.1\r\nHost: " + authority(url, false) + "\r\nConnection: close\r\n";
  for (const auto& [name, value] : request.headers) text += name + ": " + value + "\r\n";
  if (!request.body.empty()) text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  return text + "\r\n" + request.body;
}

// Bytes of the connection into a parser that takes them in pieces.
class Reader {
 public:
  Reader(const Url& url, Connection& connection, bool head_only) : url_(url), connection_(connection) {
    parser_.body_limit(boost::none);
    parser_.skip(head_only);
  }

  ClientResponse head() {
    while (!parser_.is_header_done()) step(nullptr);
    ClientResponse response;
    response.status = parser_.get().result_int();
    for (const auto& field : parser_.get()) {
      const std::string_view name(field.name_string().data(), field.name_string().size());
      response.headers.emplace_back(lower_case(name), std::string(field.value().data(), field.value().size()));
    }
    if (const auto length = parser_.content_length()) response.length = *length;
    return response;
  }

  void body(const BodySink& sink) {
    parser_.eager(true);
    while (!parser_.is_done()) step(&sink);
  }

 private:
  // Parses what is there, or reads more.
  void step(const BodySink* sink) {
    if (!tried_ && !pending_.empty()) {
      parse(sink);
      return;
    }
    const std::size_t got = connection_.read(piece_.data(), piece_.size());
    tried_ = false;
    if (got != 0) {
      pending_.append(piece_.data(), got);
      return;
    }
    boost::system::error_code error;
    parser_.put_eof(error);
    if (error || !parser_.is_done()) fail(url_, "the connection ended before the answer was whole");
  }

  void parse(const BodySink* sink) {
    auto& body = parser_.get().body();
    body.data = body_.data();
    body.size = body_.size();
    body.more = true;
    boost::system::error_code error;
    const std::size_t used = parser_.put(boost::asio::buffer(pending_), error);
    pending_.erase(0, used);
    tried_ = error == beast::http::error::need_more || pending_.empty();
    if (error && error != beast::http::error::need_more && error != beast::http::error::need_buffer)
      fail(url_, "the answer is no HTTP: " + error.message());
    if (const std::size_t made = body_.size() - body.size; sink && made != 0) (*sink)({body_.data(), made});
  }

  const Url& url_;
  Connection& connection_;
  beast::http::response_parser<beast::http::buffer_body> parser_;
  std::string pending_;
  bool tried_ = false;  // what is pending is too little
  std::vector<char> piece_ = std::vector<char>(kPiece), body_ = std::vector<char>(2 * kPiece);
};

}  // namespace

Url Url::parse(std::string_view text) {
  Url url;
  const std::string whole(text);
  const auto bad = [&](const char* what) -> Error {
    return {ErrorKind::kInvalidArgument, "'" + whole + "' is no URL: " + what + ", as in https://host/path"};
  };
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) throw bad("expected http:// or https://");
  text.remove_prefix(url.tls ? 8 : 7);
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 127; }))
    throw bad("it has a space or a control character");
  text = text.substr(0, text.find('#'));
  const auto end = text.find_first_of("/?");
  std::string_view authority = text.substr(0, end);
  url.target = end == std::string_view::npos ? "/" : std::string(text.substr(end));
  if (url.target[0] != '/') url.target = "/" + url.target;
  if (authority.find('@') != std::string_view::npos) throw bad("a name and password in it are not sent");
  const auto bracket = authority.find(']');
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  url.host = std::string(authority.substr(0, colon));
  if (bracket != std::string_view::npos && url.host.size() > 2) url.host = url.host.substr(1, url.host.size() - 2);
  url.port = colon == std::string_view::npos ? (url.tls ? "443" : "80") : std::string(authority.substr(colon + 1));
  const bool digits = std::all_of(url.port.begin(), url.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (url.host.empty()) throw bad("the host is missing");
  if (url.port.empty() || url.port.size() > 5 || !digits) throw bad("its port is no number");
  return url;
}

Url Url::resolve(std::string_view location) const {
  if (location.starts_with("//")) return parse((tls ? "https:" : "http:") + std::string(location));
  if (!location.starts_with("/")) return parse(location);
  return parse(origin() + std::string(location));
}

std::string Url::origin() const { return (tls ? "https://" : "http://") + authority(*this, false); }

std::optional<Url> proxy_from_environment(const Url& url) {
  const auto variable = [](const std::string& name) {
    const char* value = std::getenv(name.c_str());
    if (!value || !*value) value = std::getenv(lower_case(name).c_str());
    return std::string(value ? value : "");
  };
  const std::string proxy = variable(url.tls ? "HTTPS_PROXY" : "HTTP_PROXY");
  if (proxy.empty()) return std::nullopt;
  std::istringstream list(variable("NO_PROXY"));
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "*") return std::nullopt;
    name.erase(0, name.find_first_not_of(" .*"));
    if (!name.empty() && (url.host == name || url.host.ends_with("." + name))) return std::nullopt;
  }
  return Url::parse(proxy.find("://") == std::string::npos ? "http://" + proxy : proxy);
}

const std::string* ClientResponse::header(std::string_view name) const noexcept {
  for (const auto& [key, value] : headers)
    if (key == name) return &value;
  return nullptr;
}

ClientResponse fetch(const ClientRequest& request, const std::function<BodySink(const ClientResponse&)>& on_head) {
  Connection connection(request);
  connection.write(request_text(request));
  Reader reader(request.url, connection, request.method == "HEAD");
  ClientResponse response = reader.head();
  if (const BodySink sink = on_head(response)) reader.body(sink);
  return response;
}

std::pair<ClientResponse, std::string> fetch_text(const ClientRequest& request, std::size_t limit) {
  std::string text;
  ClientResponse response = fetch(request, [&](const ClientResponse&) -> BodySink {
    return [&](std::string_view piece) {
      if (text.size() + piece.size() > limit)
        throw Error(ErrorKind::kResource,
                    request.url.origin() + ": an answer of over " + std::to_string(limit) + " bytes");
      text += piece;
    };
  });
  return {std::move(response), std::move(text)};
}

}  // namespace nacelle::http
