#include "core/plugin_host/sha256.hpp"

#include <openssl/evp.h>

#include <string>

#include "core/base/mapped_file.hpp"

namespace nacelle {
namespace {

using Context = Sha256::Context;

Context begin(const EVP_MD* algorithm) {
  Context context(EVP_MD_CTX_new());
  EVP_DigestInit_ex(context.get(), algorithm, nullptr);
  return context;
}

void add_to(const Context& context, std::string_view bytes) {
  EVP_DigestUpdate(context.get(), bytes.data(), bytes.size());
}

std::string end(const Context& context) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), bytes, &size);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += "0123456789abcdef"[bytes[i] >> 4];
    hex += "0123456789abcdef"[bytes[i] & 15];
  }
  return hex;
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(begin(EVP_sha256())) {}

void Sha256::add(std::string_view bytes) { add_to(context_, bytes); }

std::string Sha256::hex() const {
  const Context copy(EVP_MD_CTX_new());
  EVP_MD_CTX_copy_ex(copy.get(), context_.get());
  return end(copy);
}

std::string sha256(std::string_view data) {
  Sha256 digest;
  digest.add(data);
  return digest.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) { return sha256(text_of(MappedFile(path))); }

std::string git_sha1_of_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  const Context context = begin(EVP_sha1());
  const std::string head = "blob " + std::to_string(file.bytes().size());
  add_to(context, {head.c_str(), head.size() + 1});
  add_to(context, text_of(file));
  return end(context);
}

}  // namespace nacelle
