// A file is: magic, the SHA-256 of the rest in hex, the key's length, the key, the data. The key is stored whole, so a
// file moved or copied to another name is not believed.
#include "core/plugin_host/tuning_store.hpp"

#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/base/atomic_file.hpp"
#include "core/base/error.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "nacelle-tuning-1";
constexpr std::size_t kDigest = 64;
constexpr std::size_t kHead = kMagic.size() + kDigest;
constexpr std::uint64_t kMaxKey = 64u << 10, kMaxData = 64u << 20;

std::string encode(std::string_view key, std::span<const std::byte> data) {
  const std::uint64_t key_size = key.size();
  std::string body(sizeof key_size, '\0');
  std::memcpy(body.data(), &key_size, sizeof key_size);
  body += key;
  body.append(reinterpret_cast<const char*>(data.data()), data.size());
  return std::string(kMagic) + sha256(body) + body;
}

std::optional<std::vector<std::byte>> decode(std::string_view file, std::string_view key) {
  std::uint64_t key_size = 0;
  if (file.size() < kHead + sizeof key_size || file.substr(0, kMagic.size()) != kMagic) return std::nullopt;
  const std::string_view body = file.substr(kHead);
  if (sha256(body) != file.substr(kMagic.size(), kDigest)) return std::nullopt;
  std::memcpy(&key_size, body.data(), sizeof key_size);
  std::string_view rest = body.substr(sizeof key_size);
  if (key_size > rest.size() || rest.substr(0, key_size) != key) return std::nullopt;
  rest.remove_prefix(key_size);
  const auto data = std::as_bytes(std::span(rest));
  return std::vector<std::byte>(data.begin(), data.end());
}

}  // namespace

fs::path default_cache_folder() {
  // The XDG rules want an absolute path and ignore any other.
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && cache[0] == '/') return fs::path(cache) / "nacelle";
  if (const char* home = std::getenv("HOME"); home && home[0] == '/') return fs::path(home) / ".cache/nacelle";
  return {};
}

fs::path TuningStore::file_of(std::string_view key) const { return folder_ / ("tuning-" + sha256(key)); }

std::optional<std::vector<std::byte>> TuningStore::get(std::string_view key) const {
  if (folder_.empty()) return std::nullopt;
  const fs::path path = file_of(key);
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (status.type() == fs::file_type::not_found || status.type() == fs::file_type::none) return std::nullopt;
  // A FIFO or a device would block or never end.
  std::string content;
  if (fs::is_regular_file(status) && fs::file_size(path, code) <= kHead + kMaxKey + kMaxData && !code) {
    std::ifstream file(path, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  auto data = decode(content, key);
  if (!data) throw Error(ErrorKind::kCorrupt, path.string() + ": damaged, or not readable; it is not used");
  return data;
}

void TuningStore::put(std::string_view key, std::span<const std::byte> data) const {
  if (key.size() > kMaxKey || data.size() > kMaxData)
    throw Error(ErrorKind::kInvalidArgument,
                fmt::format("tuning cache: a key of {} bytes with {} bytes of data is above "
                            "the limits of 64 KiB and 64 MiB",
                            key.size(), data.size()));
  if (folder_.empty()) throw Error(ErrorKind::kResource, "tuning cache: no folder; set HOME or XDG_CACHE_HOME");
  const std::string content = encode(key, data);
  AtomicFile file(file_of(key));
  file.write(0, std::as_bytes(std::span(content)));
  file.commit();
}

}  // namespace nacelle
