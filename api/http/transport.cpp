#include "api/http/transport.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace nacelle::http {
namespace {

class PlainTransport : public Transport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}

  Transfer read(char* data, std::size_t size) override {
    return result(::recv(socket_, data, size, MSG_DONTWAIT), Transfer::Result::kRead);
  }
  Transfer write(const char* data, std::size_t size) override {
    return result(::send(socket_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL), Transfer::Result::kWrite);
  }
  void close() override { ::shutdown(socket_, SHUT_WR); }

 private:
  static Transfer result(ssize_t bytes, Transfer::Result wait) {
    if (bytes > 0) return {Transfer::Result::kDone, static_cast<std::size_t>(bytes)};
    const bool again = bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    return {again ? wait : Transfer::Result::kClosed, 0};
  }
  const int socket_;
};

}  // namespace

std::unique_ptr<Transport> plain_transport(int socket) { return std::make_unique<PlainTransport>(socket); }

}  // namespace nacelle::http
