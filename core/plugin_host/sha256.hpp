// SHA-256, for the allow-list of plugins, the names of cache files and what was downloaded.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace nacelle {

// Of bytes that come in pieces.
class Sha256 {
 public:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  using Context = std::unique_ptr<evp_md_ctx_st, Free>;

  Sha256();

  void add(std::string_view bytes);
  std::string hex() const;  // of all so far: 64 lower-case hexadecimal digits

 private:
  Context context_;
};

std::string sha256(std::string_view data);
// The same of a whole file. Throws Error when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

// The name that git gives a file's content: SHA-1 of "blob SIZE", a zero byte and the file. Throws as above.
std::string git_sha1_of_file(const std::filesystem::path& path);

}  // namespace nacelle
