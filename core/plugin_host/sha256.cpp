// OpenSSL's plain SHA256 functions. Its newer EVP interface would pull some 4 MB of providers into a static program.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "core/plugin_host/sha256.hpp"

#include <openssl/sha.h>

#include "core/base/mapped_file.hpp"

namespace nacelle {
namespace {

std::string digest(const void* data, std::size_t size) {
  SHA256_CTX state;
  unsigned char bytes[SHA256_DIGEST_LENGTH];
  SHA256_Init(&state);
  SHA256_Update(&state, data, size);
  SHA256_Final(bytes, &state);
  std::string hex;
  for (const unsigned char byte : bytes) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

}  // namespace

std::string sha256(std::string_view data) { return digest(data.data(), data.size()); }

std::string sha256_of_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return digest(file.bytes().data(), file.bytes().size());
}

}  // namespace nacelle
