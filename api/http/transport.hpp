// Bytes in and out of a non-blocking socket, in clear or through TLS. One connection's code serves both: it calls, and
// where a call must wait it is told for what. The server's I/O thread only, but for what is marked otherwise.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace nacelle::http {

struct Transfer {
  // kRead, kWrite: nothing was moved; the same call may succeed once the socket is ready for that.
  enum class Result { kDone, kRead, kWrite, kClosed };
  Result result = Result::kClosed;
  std::size_t bytes = 0;  // more than 0 with kDone
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual Transfer read(char* data, std::size_t size) = 0;
  virtual Transfer write(const char* data, std::size_t size) = 0;
  // Says that nothing more will be written, as far as it can be said without waiting.
  virtual void close() = 0;
};

// `socket` stays its owner's.
std::unique_ptr<Transport> plain_transport(int socket);

// A server's certificate and private key, read again when one of the files changes. OpenSSL stays in tls.cpp.
class Tls {
 public:
  // nullptr where both names are empty. Throws Error(kInvalidArgument) where one is, kNotFound or kCorrupt where a file
  // cannot be used or the key is another certificate's.
  static std::unique_ptr<Tls> make(const std::string& certificate, const std::string& key);
  ~Tls();

  // The handshake is a part of the first read.
  std::unique_ptr<Transport> transport(int socket);
  // [any thread] Keeps what it has, and logs, where the files are bad.
  void reload() noexcept;

 private:
  struct State;
  explicit Tls(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::http
