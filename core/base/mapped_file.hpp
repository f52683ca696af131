// A read-only memory map of a whole file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace nacelle {

// When a file was last changed, as it was opened: the time that programs may set, and the one that they cannot. In ns.
struct FileState {
  std::int64_t modified_ns = 0, changed_ns = 0;
};

// Owns the mapping; move-only. The bytes stay valid while the object lives. Any thread may read.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error: kNotFound when the file cannot be opened, kCorrupt when it is empty or no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const FileState& state() const noexcept { return state_; }

  // Tells the kernel that [offset, offset + size) is not needed any more, so that a packed copy does not double memory.
  // Only whole pages inside the range are dropped; reading them again is valid and slow.
  void release(std::size_t offset, std::size_t size) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  FileState state_;
};

}  // namespace nacelle
