// Memory that the host and the process of an isolated plugin share: one large, sparse mapping, made by the host. Only
// what was written takes memory. Places in it are offsets: each process maps it where it likes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace nacelle::isolation {

// A file descriptor. Move-only.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

// The mapping alone, as both sides have it.
class SharedMemory {
 public:
  static constexpr std::uint64_t kSize = std::uint64_t{64} << 30;

  // Throws Error(kResource) where it cannot be mapped. `fd` is kept.
  explicit SharedMemory(Descriptor fd);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* at(std::uint64_t offset) const noexcept { return base_ + offset; }
  // True where [offset, offset + size) lies inside.
  static bool holds(std::uint64_t offset, std::uint64_t size) noexcept {
    return offset <= kSize && size <= kSize - offset;
  }
  int fd() const noexcept { return fd_.get(); }
  // Gives the pages of [offset, offset + size) back; whole pages only.
  void drop(std::uint64_t offset, std::uint64_t size) const noexcept;

 private:
  Descriptor fd_;
  std::byte* base_ = nullptr;
};

// Hands out parts of it: the host's side. Any thread.
class Arena {
 public:
  Arena();

  const SharedMemory& memory() const noexcept { return memory_; }
  std::byte* at(std::uint64_t offset) const noexcept { return memory_.at(offset); }
  // Whole pages, zeroed. Throws std::bad_alloc where no gap is large enough.
  std::uint64_t take(std::uint64_t size);
  void give(std::uint64_t offset, std::uint64_t size) noexcept;

 private:
  SharedMemory memory_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> gaps_;  // offset -> size, never side by side
};

}  // namespace nacelle::isolation
