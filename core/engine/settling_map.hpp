// A mapped file that moves, while it is being read, into memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <thread>
#include <vector>

namespace nacelle {

// To the next multiple.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

// A start wants a mapping: it is there at once. What follows is better served by memory of our own: file pages are
// mostly small ones, which costs several per cent of the reading speed; they lie on one NUMA node; and cutting the file
// off would end the process. So a thread of low priority copies the bytes to huge pages and puts each in the place of
// what was mapped there. Addresses and contents stay; a reader in the middle of it waits for microseconds. The file's
// own pages stay in the page cache for the next start, for as long as nobody needs the memory.
class SettlingMap {
 public:
  // Throws Error: kNotFound when the file cannot be opened, kResource when there is no room to map it.
  explicit SettlingMap(const std::filesystem::path& path);
  ~SettlingMap();
  SettlingMap(const SettlingMap&) = delete;
  SettlingMap& operator=(const SettlingMap&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  // Once: begins to copy, spread over these NUMA nodes where there are several. Where memory is short it stops, and the
  // rest stays as it is.
  void settle(std::vector<unsigned> nodes);
  // Waits until that is done. True where all has been copied.
  bool wait() noexcept;

 private:
  void copy(const std::stop_token& stop, const std::vector<unsigned>& nodes) noexcept;

  std::byte* room_ = nullptr;  // what is reserved: begins below data_
  std::size_t room_size_ = 0;
  std::byte* data_ = nullptr;  // at a huge page's border
  std::size_t size_ = 0;
  std::size_t settled_ = 0;  // by the thread; read once it has ended
  std::jthread thread_;
};

}  // namespace nacelle
