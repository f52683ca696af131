#include "api/hub/download.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "api/http/client.hpp"
#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle::hub {
namespace {

namespace fs = std::filesystem;

// The file that grows, locked against other processes, with the digest of what it has.
class Partial {
 public:
  explicit Partial(fs::path path) : path_(std::move(path)) {
    std::error_code code;
    fs::create_directories(path_.parent_path(), code);
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail(errno);
    if (::flock(descriptor_, LOCK_EX) != 0 && errno != ENOLCK && errno != ENOTSUP) fail(errno);
  }
  ~Partial() { ::close(descriptor_); }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  // Whether the path still leads to the locked file: whoever held the lock before may have given it its name.
  bool is_current() const {
    struct stat ours {
    }, there{};
    return ::fstat(descriptor_, &ours) == 0 && ::stat(path_.c_str(), &there) == 0 && ours.st_ino == there.st_ino;
  }

  // Digests what an earlier try left.
  void read_back() {
    std::vector<char> piece(1u << 20);
    for (ssize_t got; (got = ::pread(descriptor_, piece.data(), piece.size(), static_cast<off_t>(size_))) > 0;) {
      digest_.add({piece.data(), static_cast<std::size_t>(got)});
      size_ += static_cast<std::uint64_t>(got);
    }
  }

  void append(std::string_view bytes) {
    digest_.add(bytes);
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail(written < 0 ? errno : ENOSPC);
      bytes.remove_prefix(static_cast<std::size_t>(written));
      size_ += static_cast<std::uint64_t>(written);
    }
  }

  void start_again() {
    if (::ftruncate(descriptor_, 0) != 0) fail(errno);
    size_ = 0;
    digest_ = Sha256();
  }

  void finish(const fs::path& target) {
    if (::fsync(descriptor_) != 0 || ::rename(path_.c_str(), target.c_str()) != 0) fail(errno);
  }
  void remove() { ::unlink(path_.c_str()); }

  std::uint64_t size() const noexcept { return size_; }
  std::string sha256() const { return digest_.hex(); }
  const fs::path& path() const noexcept { return path_; }

 private:
  [[noreturn]] void fail(int error) const {
    throw Error(ErrorKind::kResource, path_.string() + ": cannot be written: " + std::strerror(error));
  }

  fs::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  Sha256 digest_;
};

// What the answer's body does to the file: goes on, starts again, or is not wanted.
std::optional<std::uint64_t> whole_size(const http::ClientResponse& response, std::uint64_t have) {
  if (response.status == 206) {  // "bytes 100-999/1000"
    const std::string* range = response.header("content-range");
    const std::string start = fmt::format("bytes {}-", have);
    if (!range || !range->starts_with(start)) return std::nullopt;
    const auto slash = range->find('/');
    return slash == std::string::npos ? 0 : std::strtoull(range->c_str() + slash + 1, nullptr, 10);  // "*": 0
  }
  return response.length.value_or(0);
}

// One request, with the redirects to where the bytes really lie. Returns when the body is through.
void attempt(const Download& file, Partial& partial) {
  constexpr int kMostRedirects = 8;
  http::ClientRequest request;
  request.url = http::Url::parse(file.url);
  const std::string home = request.url.origin();
  for (int i = 0; i <= kMostRedirects; ++i) {
    request.headers = {{"User-Agent", "nacelle"}, {"Accept-Encoding", "identity"}};
    if (!file.token.empty() && request.url.origin() == home)
      request.headers.emplace_back("Authorization", "Bearer " + file.token);
    if (partial.size() > 0) request.headers.emplace_back("Range", fmt::format("bytes={}-", partial.size()));
    request.proxy = http::proxy_from_environment(request.url);
    std::string location;
    http::fetch(request, [&](const http::ClientResponse& response) -> http::BodySink {
      if (const std::string* next = response.header("location"); next && response.status / 100 == 3) {
        location = *next;
        return {};
      }
      if (response.status == 416) {  // more than there is: what we have is another file's
        partial.start_again();
        throw Error(ErrorKind::kUnavailable, request.url.origin() + ": has less of the file than is here");
      }
      if (response.status != 200 && response.status != 206)
        fail_status(file.name, request.url.origin(), response.status);
      const auto total = whole_size(response, partial.size());
      if (response.status == 200 || !total) partial.start_again();
      if (!total)
        throw Error(ErrorKind::kUnavailable, request.url.origin() + ": answers with another range than asked for");
      return [&, total = file.size ? file.size : *total](std::string_view bytes) {
        partial.append(bytes);
        if (file.progress) file.progress(partial.size(), total);
      };
    });
    if (location.empty()) return;
    request.url = request.url.resolve(location);
  }
  throw Error(ErrorKind::kUnavailable, file.name + ": " + home + " redirects without end");
}

void load(const Download& file, Partial& partial) {
  using namespace std::chrono_literals;
  constexpr auto kLongest = 30s;
  auto wait = 1s;
  for (unsigned failures = 0; file.size == 0 || partial.size() < file.size;) {
    const std::uint64_t before = partial.size();
    try {
      attempt(file, partial);
      if (file.size == 0 || partial.size() >= file.size) return;
      throw Error(ErrorKind::kUnavailable,
                  fmt::format("{}: {} of {} bytes came", file.name, partial.size(), file.size));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnavailable) throw;
      if (partial.size() > before) failures = 0, wait = 1s;
      if (failures++ >= file.retries) {
        throw Error(ErrorKind::kUnavailable, fmt::format("{}: {}; {} bytes are kept, the next pull goes on from there",
                                                         file.name, error.what(), partial.size()));
      }
      log::warning("{}: {}; again in {} s, from byte {}", file.name, error.what(), wait.count(), partial.size());
      std::this_thread::sleep_for(wait);
      wait = std::min<std::chrono::seconds>(2 * wait, kLongest);
    }
  }
}

// Empty where all is as it must be.
std::string mismatch(const Download& file, const Partial& partial) {
  if (file.size != 0 && partial.size() != file.size)
    return fmt::format("has {} bytes, the hub says {}", partial.size(), file.size);
  if (!file.sha256.empty() && partial.sha256() != file.sha256)
    return fmt::format("its SHA-256 is {}, it must be {}", partial.sha256(), file.sha256);
  if (!file.git_sha1.empty())
    if (const std::string found = git_sha1_of_file(partial.path()); found != file.git_sha1)
      return fmt::format("its git hash is {}, it must be {}", found, file.git_sha1);
  return {};
}

}  // namespace

void fail_status(const std::string& what, const std::string& origin, unsigned status) {
  if (status == 401 || status == 403)
    throw Error(
        ErrorKind::kInvalidArgument,
        fmt::format("{}: {} answered {}: private, or its terms are not accepted yet; HF_TOKEN must hold a token "
                    "of somebody who may read it",
                    what, origin, status));
  if (status == 404)
    throw Error(ErrorKind::kNotFound, fmt::format("{}: {} has no such repository or file", what, origin));
  throw Error(ErrorKind::kUnavailable, fmt::format("{}: {} answered {}", what, origin, status));
}

void make_link(const fs::path& place, const fs::path& target) {
  std::error_code code;
  fs::create_directories(place.parent_path(), code);
  if (fs::exists(place)) return;
  // Renamed into its place over one that leads nowhere: another process may be at it too.
  const fs::path fresh = fmt::format("{}.{}", place.string(), ::gettid());
  fs::remove(fresh, code);
  fs::create_symlink(target, fresh, code);
  if (!code) fs::rename(fresh, place, code);
  if (code) throw Error(ErrorKind::kResource, place.string() + ": cannot be written: " + code.message());
}

bool download(const Download& file) {
  for (;;) {
    if (fs::exists(file.target)) return false;
    Partial partial(file.target.string() + ".incomplete");
    if (!partial.is_current() || fs::exists(file.target)) continue;  // another process was faster
    partial.read_back();
    load(file, partial);
    if (const std::string wrong = mismatch(file, partial); !wrong.empty()) {
      partial.remove();
      throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}; what came was removed", file.name, wrong));
    }
    partial.finish(file.target);
    return true;
  }
}

}  // namespace nacelle::hub
