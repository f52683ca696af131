// Compact storage for a vocabulary: all strings in one arena, and a hash index from string to number over it.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

// Append-only list of strings. Views are valid until the next add().
class StringTable {
 public:
  void reserve(std::size_t strings, std::size_t bytes) {
    ends_.reserve(strings);
    arena_.reserve(bytes);
  }
  void add(std::string_view s) {
    arena_ += s;
    ends_.push_back(arena_.size());
  }
  std::size_t size() const noexcept { return ends_.size(); }
  std::string_view operator[](std::size_t i) const noexcept {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return {arena_.data() + begin, ends_[i] - begin};
  }

 private:
  std::string arena_;
  std::vector<std::size_t> ends_;
};

// Eight bytes a step: words and tokens are short, so that latency counts more than throughput.
inline std::uint64_t hash_bytes(std::string_view s) noexcept {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
  std::uint64_t h = s.size() * kMultiplier;
  const auto mix = [&](std::uint64_t w) {
    h = (h ^ w) * kMultiplier;
    h ^= h >> 32;
  };
  const char* p = s.data();
  std::size_t n = s.size();
  for (; n >= 8; n -= 8, p += 8) {
    std::uint64_t w;
    std::memcpy(&w, p, 8);
    mix(w);
  }
  if (n > 0) {
    std::uint64_t w = 0;
    std::memcpy(&w, p, n);
    mix(w);
  }
  return h;
}

// Finds strings of a StringTable by content. Open addressing, at most half full. The table may not change meanwhile.
class StringIndex {
 public:
  StringIndex() = default;
  StringIndex(const StringTable* table, std::size_t expected)
      : table_(table), slots_(std::bit_ceil(expected * 2 + 2)) {}

  // Adds string `id` of the table unless an equal string is there; returns the id that now holds this string. Not more
  // than `expected` strings may be added.
  std::int32_t insert(std::int32_t id) {
    const std::string_view key = (*table_)[static_cast<std::size_t>(id)];
    Slot& slot = slots_[locate(key)];
    if (slot.id < 0) slot = {static_cast<std::uint32_t>(hash_bytes(key) >> 32), id};
    return slot.id;
  }
  // -1 when absent.
  std::int32_t find(std::string_view key) const noexcept { return slots_.empty() ? -1 : slots_[locate(key)].id; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = -1;
  };
  std::size_t locate(std::string_view key) const noexcept {
    const std::uint64_t h = hash_bytes(key);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = h & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return i;
      if (slot.hash == static_cast<std::uint32_t>(h >> 32) && (*table_)[static_cast<std::size_t>(slot.id)] == key)
        return i;
    }
  }

  const StringTable* table_ = nullptr;
  std::vector<Slot> slots_;
};

}  // namespace nacelle
