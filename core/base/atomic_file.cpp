// open with O_EXCL, pwrite, rename; see the notes of open(2) and rename(2).
#include "core/base/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/error.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporary = ".nacelle-new-";
// Whoever writes changes the file all the time, so one that lay still for so long is of a process that was killed.
constexpr std::chrono::minutes kAbandoned{30};

void remove_abandoned(const fs::path& folder) {
  std::error_code code;
  const auto before = fs::file_time_type::clock::now() - kAbandoned;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
    std::error_code own;
    if (!entry->path().filename().string().starts_with(kTemporary) || !entry->is_regular_file(own)) continue;
    if (const auto changed = entry->last_write_time(own); !own && changed < before) fs::remove(entry->path(), own);
  }
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  const fs::path folder = path_.parent_path();
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) fail(code.value());
  remove_abandoned(folder);
  // Not mkstemp, whose files are for their owner alone: what is written here is read by others, as the umask allows.
  std::random_device random;
  do {
    temporary_ = (folder / kTemporary).string() + std::to_string(random());
    fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail(int error) const {
  throw Error(ErrorKind::kResource, path_.string() + ": cannot be written: " + std::strerror(error));
}

void AtomicFile::reserve(std::uint64_t bytes) {
  if (::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) fail(errno);
}

void AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(written < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void AtomicFile::commit() {
  if (::close(std::exchange(fd_, -1)) == 0 && ::rename(temporary_.c_str(), path_.c_str()) == 0) return;
  const int error = errno;  // a network's file system may tell of a full disk as late as that
  ::unlink(temporary_.c_str());
  fail(error);
}

}  // namespace nacelle
