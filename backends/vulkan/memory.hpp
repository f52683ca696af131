// Device memory, handed out in pieces of a few large allocations: drivers allow only some thousands of them. Every
// piece has an address for shaders; one that the host can see has a pointer too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/vulkan/api.hpp"
#include "backends/vulkan/instance.hpp"

namespace nacelle::vulkan {

enum class MemoryKind {
  kDevice,    // where shaders are fastest; the host sees it on devices that share its memory
  kUpload,    // written by the host, read by the device
  kDownload,  // written by the device, read by the host
};

class Memory;

// A piece of memory; move-only, given back when it goes. The Memory outlives it.
class Piece {
 public:
  Piece() = default;
  ~Piece();
  Piece(Piece&& other) noexcept { swap(other); }
  Piece& operator=(Piece&& other) noexcept {
    swap(other);
    return *this;
  }

  VkBuffer buffer() const { return buffer_; }
  std::uint64_t offset() const { return offset_; }  // in the buffer
  std::uint64_t size() const { return size_; }
  std::uint64_t address() const { return address_; }
  std::byte* mapped() const { return mapped_; }  // nullptr where the host does not see it
  template <class T>
  T* as(std::uint64_t byte_offset = 0) const {
    return reinterpret_cast<T*>(mapped_ + byte_offset);
  }

 private:
  friend class Memory;
  void swap(Piece& other) noexcept;
  Memory* owner_ = nullptr;
  void* block_ = nullptr;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  std::uint64_t offset_ = 0, size_ = 0, address_ = 0;
  std::byte* mapped_ = nullptr;
};

class Memory {
 public:
  // `hide`: the host does not see kDevice memory even where it could, as on a card of its own; for tests.
  Memory(const DeviceFunctions& api, VkDevice device, const Instance& instance, const PhysicalDevice& physical,
         bool hide);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Any thread. Throws sdk::Failure (OUT_OF_MEMORY) that says what the memory was for and how much there is.
  Piece allocate(MemoryKind kind, std::uint64_t bytes, const char* what);

 private:
  friend class Piece;
  // One VkDeviceMemory with one buffer over all of it.
  struct Block {
    MemoryKind kind;
    std::uint64_t size = 0, address = 0;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    VkBuffer buffer = VK_NULL_HANDLE;
    std::byte* mapped = nullptr;
    std::map<std::uint64_t, std::uint64_t> free;  // size by offset
  };
  Block& add_block(MemoryKind kind, std::uint64_t bytes, const char* what);
  std::uint32_t choose_type(MemoryKind kind, std::uint32_t allowed) const;
  void give_back(Block& block, std::uint64_t offset, std::uint64_t size) noexcept;
  void destroy(Block& block) noexcept;

  const DeviceFunctions& api_;
  VkDevice device_;
  const Instance& instance_;
  const PhysicalDevice& physical_;
  bool hide_;
  VkPhysicalDeviceMemoryProperties properties_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

}  // namespace nacelle::vulkan
