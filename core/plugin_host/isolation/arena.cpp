// A memfd of 64 GiB that is nearly all holes.
#include "core/plugin_host/isolation/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <new>
#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace nacelle::isolation {
namespace {

constexpr std::uint64_t kPage = 4096;

std::uint64_t whole_pages(std::uint64_t size) { return (std::max<std::uint64_t>(size, 1) + kPage - 1) / kPage * kPage; }

Descriptor make_file() {
  Descriptor fd(::memfd_create("nacelle-plugin", MFD_CLOEXEC));
  if (fd.get() < 0 || ::ftruncate(fd.get(), static_cast<off_t>(SharedMemory::kSize)) != 0)
    throw Error(ErrorKind::kResource,
                std::string("no memory to share with a plugin's process: ") + std::strerror(errno));
  return fd;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}
Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

SharedMemory::SharedMemory(Descriptor fd) : fd_(std::move(fd)) {
  void* address = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (address == MAP_FAILED)
    throw Error(ErrorKind::kResource,
                std::string("cannot map the memory that is shared with a plugin's process: ") + std::strerror(errno));
  base_ = static_cast<std::byte*>(address);
  ::madvise(base_, kSize, MADV_DONTDUMP);
}

SharedMemory::~SharedMemory() { ::munmap(base_, kSize); }

void SharedMemory::drop(std::uint64_t offset, std::uint64_t size) const noexcept {
  ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
              static_cast<off_t>(size));
}

Arena::Arena() : memory_(make_file()), gaps_{{0, SharedMemory::kSize}} {}

std::uint64_t Arena::take(std::uint64_t size) {
  size = whole_pages(size);
  const std::lock_guard lock(mutex_);
  const auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](const auto& item) { return item.second >= size; });
  if (gap == gaps_.end()) throw std::bad_alloc();
  const auto [offset, room] = *gap;
  gaps_.erase(gap);
  if (room > size) gaps_.emplace(offset + size, room - size);
  return offset;
}

void Arena::give(std::uint64_t offset, std::uint64_t size) noexcept {
  size = whole_pages(size);
  memory_.drop(offset, size);  // and so it is zero when it is taken again
  const std::lock_guard lock(mutex_);
  auto next = gaps_.lower_bound(offset);
  if (next != gaps_.end() && next->first == offset + size) {
    size += next->second;
    next = gaps_.erase(next);
  }
  if (next != gaps_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  gaps_.emplace_hint(next, offset, size);
}

}  // namespace nacelle::isolation
