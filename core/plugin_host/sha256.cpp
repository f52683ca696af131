// OpenSSL's plain SHA functions. Its newer EVP interface would pull some 4 MB of providers into a static program.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "core/plugin_host/sha256.hpp"

#include <openssl/sha.h>

#include <span>

#include "core/base/mapped_file.hpp"

namespace nacelle {
namespace {

std::string hex_of(std::span<const unsigned char> bytes) {
  std::string hex;
  for (const unsigned char byte : bytes) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

struct Sha256::State {
  SHA256_CTX context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) { SHA256_Init(&state_->context); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::add(std::string_view bytes) { SHA256_Update(&state_->context, bytes.data(), bytes.size()); }

std::string Sha256::hex() const {
  SHA256_CTX copy = state_->context;
  unsigned char bytes[SHA256_DIGEST_LENGTH];
  SHA256_Final(bytes, &copy);
  return hex_of(bytes);
}

std::string sha256(std::string_view data) {
  Sha256 digest;
  digest.add(data);
  return digest.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) { return sha256(text_of(MappedFile(path))); }

std::string git_sha1_of_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string head = "blob " + std::to_string(file.bytes().size());
  SHA_CTX context;
  unsigned char bytes[SHA_DIGEST_LENGTH];
  SHA1_Init(&context);
  SHA1_Update(&context, head.c_str(), head.size() + 1);
  SHA1_Update(&context, file.bytes().data(), file.bytes().size());
  SHA1_Final(bytes, &context);
  return hex_of(bytes);
}

}  // namespace nacelle
