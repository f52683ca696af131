// mremap over a mapping: the kernel unmaps the old pages and moves the new ones in under one lock, for which the fault
// of a reader waits.
#include "core/engine/settling_map.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/base/topology.hpp"

namespace nacelle {
namespace {

constexpr std::size_t kHugePage = 2u << 20;

// Address space for `size` bytes from a huge page's border on, nothing behind it; null where there is none.
struct Room {
  std::byte* begin = nullptr;
  std::size_t size = 0;
  std::byte* aligned = nullptr;

  explicit Room(std::size_t wanted) : size(round_up(wanted, kHugePage) + kHugePage) {
    void* address = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return;
    begin = static_cast<std::byte*>(address);
    aligned = begin +
              (round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage) - reinterpret_cast<std::uintptr_t>(begin));
  }
};

}  // namespace

SettlingMap::SettlingMap(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(ErrorKind::kNotFound, path.string() + ": cannot be opened: " + std::strerror(errno));
  struct stat status {};
  ::fstat(fd, &status);
  size_ = static_cast<std::size_t>(status.st_size);
  const Room room(size_);
  room_ = room.begin;
  room_size_ = room.size;
  data_ = room.aligned;
  const bool mapped = data_ && (size_ == 0 || ::mmap(data_, size_, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == data_);
  const int error = errno;
  ::close(fd);
  if (mapped) return;
  if (room_) ::munmap(room_, room_size_);
  throw Error(ErrorKind::kResource, path.string() + ": cannot be mapped: " + std::strerror(error));
}

SettlingMap::~SettlingMap() {
  thread_.request_stop();
  wait();
  ::munmap(room_, room_size_);
}

void SettlingMap::settle(std::vector<unsigned> nodes) try {
  thread_ = std::jthread([this, nodes = std::move(nodes)](const std::stop_token& stop) { copy(stop, nodes); });
} catch (const std::system_error& error) {
  log::debug("packed weights stay mapped: {}", error.what());
}

bool SettlingMap::wait() noexcept {
  if (thread_.joinable()) thread_.join();
  return settled_ == size_;
}

void SettlingMap::copy(const std::stop_token& stop, const std::vector<unsigned>& nodes) noexcept {
  ::pthread_setname_np(::pthread_self(), "nacelle-settle");
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);  // of this thread alone, on Linux
  const Room staging(size_);
  if (!staging.begin) return;
  const std::size_t whole = round_up(size_, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  std::size_t moved = 0;  // address space of the staging area that is not ours any more: others may have it by now
  if (::mprotect(staging.aligned, whole, PROT_READ | PROT_WRITE) == 0) {
    ::madvise(staging.aligned, whole, MADV_HUGEPAGE);
    if (nodes.size() > 1) interleave(staging.aligned, whole, nodes);
    while (moved < whole && !stop.stop_requested()) {
      const std::size_t piece = std::min(kHugePage, whole - moved);
      std::memcpy(staging.aligned + moved, data_ + moved, std::min(piece, size_ - moved));
      if (::mremap(staging.aligned + moved, piece, piece, MREMAP_MAYMOVE | MREMAP_FIXED, data_ + moved) == MAP_FAILED)
        break;
      moved += piece;
    }
    ::mprotect(data_, moved, PROT_READ);
  }
  ::munmap(staging.begin, static_cast<std::size_t>(staging.aligned - staging.begin));
  ::munmap(staging.aligned + moved, staging.size - static_cast<std::size_t>(staging.aligned - staging.begin) - moved);
  settled_ = std::min(moved, size_);
}

}  // namespace nacelle
