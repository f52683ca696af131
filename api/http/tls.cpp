// TLS by OpenSSL, straight over the non-blocking socket.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string_view>

#include "api/http/message.hpp"
#include "api/http/transport.hpp"
#include "api/http/wire.hpp"
#include "core/base/error.hpp"
#include "core/base/log.hpp"

namespace nacelle::http {
namespace {

using Clock = std::chrono::steady_clock;
using ContextPtr = std::shared_ptr<SSL_CTX>;

std::string last_error() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_peek_last_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

// HTTP/1.1 is all we speak; a client that offers something else alone goes on without ALPN.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned in_size,
                    void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, size, kOurs, sizeof kOurs - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void check_readable(const char* flag, const std::string& file) {
  std::error_code ignored;
  std::string reason;
  if (std::filesystem::is_directory(file, ignored)) {
    reason = "is a folder, expected a file in PEM";
  } else if (access(file.c_str(), R_OK) != 0) {
    reason = errno == ENOENT ? "no such file" : std::string("cannot be read: ") + std::strerror(errno);
  }
  if (!reason.empty()) throw Error(ErrorKind::kNotFound, "--" + std::string(flag) + " " + file + ": " + reason, flag);
}

[[noreturn]] void refuse(const char* flag, const std::string& file, const std::string& what) {
  throw Error(ErrorKind::kCorrupt, "--" + std::string(flag) + " " + file + ": " + what, flag);
}

// No server asks for a passphrase: OpenSSL would, on the terminal.
int note_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

void load_key(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  bool encrypted = false;
  SSL_CTX_set_default_passwd_cb(context, note_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
  const bool loaded = SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  if (loaded) return;
  if (encrypted)
    refuse("tls-key", key, "is encrypted, expected a key without a passphrase: openssl pkey -in FILE -out PLAIN");
  if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
    refuse("tls-key", key, "is another certificate's key than that of " + certificate);
  refuse("tls-key", key, "no private key in PEM (" + last_error() + ")");
}

// It is taken all the same: clocks are wrong, and a renewed file is read again.
void warn_of_dates(SSL_CTX* context, const std::string& file) {
  const X509* certificate = SSL_CTX_get0_certificate(context);
  const auto is_past = [](const ASN1_TIME* time) { return X509_cmp_current_time(time) < 0; };
  const bool expired = is_past(X509_get0_notAfter(certificate));
  if (expired || !is_past(X509_get0_notBefore(certificate)))
    log::warning("--tls-cert {}: the certificate {}; clients will refuse it", file,
                 expired ? "has expired" : "is not valid yet");
}

ContextPtr load(const std::string& certificate, const std::string& key) {
  check_readable("tls-cert", certificate);
  check_readable("tls-key", key);
  ERR_clear_error();
  ContextPtr context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) throw Error(ErrorKind::kInternal, "cannot start TLS: " + last_error());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1)
    refuse("tls-cert", certificate, "no certificate in PEM (" + last_error() + ")");
  load_key(context.get(), certificate, key);
  warn_of_dates(context.get(), certificate);
  return context;
}

// To who speaks HTTP where TLS is expected, and would see nothing but an empty reply.
void answer_in_clear(int socket) {
  const ApiError error{400, "this port speaks HTTPS alone: the address must begin with https://", "", "bad_http"};
  const std::string answer = closing_answer({400, error_body(error), "application/json", {}});
  std::array<char, 4096> rest{};  // of the request: what nobody reads would make of the end a reset
  for (int i = 0; i < 16 && recv(socket, rest.data(), rest.size(), MSG_DONTWAIT) > 0;) ++i;
  [[maybe_unused]] const ssize_t sent = send(socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

class TlsTransport : public Transport {
 public:
  TlsTransport(ContextPtr context, int socket) : context_(std::move(context)), ssl_(SSL_new(context_.get()), SSL_free) {
    if (!ssl_ || SSL_set_fd(ssl_.get(), socket) != 1) throw Error(ErrorKind::kResource, "cannot start TLS");
    SSL_set_accept_state(ssl_.get());
  }

  Transfer read(char* data, std::size_t size) override {
    std::size_t bytes = 0;
    ERR_clear_error();
    const int done = SSL_read_ex(ssl_.get(), data, size, &bytes);
    return result(done, bytes);
  }
  Transfer write(const char* data, std::size_t size) override {
    std::size_t bytes = 0;
    ERR_clear_error();
    const int done = SSL_write_ex(ssl_.get(), data, size, &bytes);
    return result(done, bytes);
  }
  void close() override {
    ERR_clear_error();
    if (!broken_ && SSL_is_init_finished(ssl_.get())) SSL_shutdown(ssl_.get());
  }

 private:
  Transfer result(int returned, std::size_t bytes) {
    if (returned == 1) return {Transfer::Result::kDone, bytes};
    switch (SSL_get_error(ssl_.get(), returned)) {
      case SSL_ERROR_WANT_READ: return {Transfer::Result::kRead, 0};
      case SSL_ERROR_WANT_WRITE: return {Transfer::Result::kWrite, 0};
      case SSL_ERROR_ZERO_RETURN: return {};
      default:
        if (!broken_ && ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST) answer_in_clear(SSL_get_fd(ssl_.get()));
        broken_ = true;  // OpenSSL forbids SSL_shutdown after these
        return {};
    }
  }

  const ContextPtr context_;
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  bool broken_ = false;
};

}  // namespace

struct Tls::State {
  std::string certificate, key;
  std::mutex mutex;
  ContextPtr context;
  std::filesystem::file_time_type changed[2];
  Clock::time_point checked;

  void remember_times() {
    std::error_code ignored;
    changed[0] = std::filesystem::last_write_time(certificate, ignored);
    changed[1] = std::filesystem::last_write_time(key, ignored);
  }
  bool files_changed() {
    const auto before = std::to_array(changed);
    remember_times();
    return before != std::to_array(changed);
  }
  void reload() {
    try {
      context = load(certificate, key);
      log::info("TLS: certificate and key were read again");
    } catch (const std::exception& error) {
      log::error("TLS: {}; the former certificate stays in use", error.what());
    }
  }
};

std::unique_ptr<Tls> Tls::make(const std::string& certificate, const std::string& key) {
  if (certificate.empty() && key.empty()) return nullptr;
  if (certificate.empty() || key.empty())
    throw Error(ErrorKind::kInvalidArgument, "--tls-cert and --tls-key go together", "tls-cert");
  // OpenSSL writes to sockets whose client may have gone; a write that fails is all we want to know.
  std::signal(SIGPIPE, SIG_IGN);
  auto state = std::make_unique<State>();
  state->certificate = certificate;
  state->key = key;
  state->context = load(certificate, key);
  state->remember_times();
  return std::unique_ptr<Tls>(new Tls(std::move(state)));
}

Tls::Tls(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tls::~Tls() = default;

std::unique_ptr<Transport> Tls::transport(int socket) {
  constexpr auto kCheckEvery = std::chrono::seconds(1);
  std::lock_guard lock(state_->mutex);
  if (Clock::now() - state_->checked > kCheckEvery) {
    state_->checked = Clock::now();
    if (state_->files_changed()) state_->reload();
  }
  return std::make_unique<TlsTransport>(state_->context, socket);
}

void Tls::reload() noexcept {
  std::lock_guard lock(state_->mutex);
  state_->remember_times();
  state_->reload();
}

}  // namespace nacelle::http
