// Small arrays of words, each stored once: equal arrays get equal ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace nacelle::constrain {

class Interner {
 public:
  // The words' id; ids count up from 0. `words` must not point into the interner.
  std::uint32_t add(std::span<const std::uint32_t> words) {
    if (2 * (begins_.size() + 1) > slots_.size()) grow();
    std::size_t slot = hash(words) & (slots_.size() - 1);
    for (; slots_[slot] != kFree; slot = (slot + 1) & (slots_.size() - 1)) {
      const auto there = at(slots_[slot]);
      if (std::equal(there.begin(), there.end(), words.begin(), words.end())) return slots_[slot];
    }
    const auto id = static_cast<std::uint32_t>(begins_.size());
    slots_[slot] = id;
    begins_.push_back(static_cast<std::uint32_t>(words_.size()));
    words_.insert(words_.end(), words.begin(), words.end());
    return id;
  }
  // Valid until the next add().
  std::span<const std::uint32_t> at(std::uint32_t id) const {
    const std::size_t end = id + 1 < begins_.size() ? begins_[id + 1] : words_.size();
    return {words_.data() + begins_[id], end - begins_[id]};
  }
  std::size_t size() const noexcept { return begins_.size(); }
  std::size_t bytes() const noexcept {
    return (words_.capacity() + begins_.capacity() + slots_.capacity()) * sizeof(std::uint32_t);
  }

 private:
  static constexpr std::uint32_t kFree = 0xFFFFFFFFu;
  // FNV-1a on words, with a final mix for the low bits.
  static std::size_t hash(std::span<const std::uint32_t> words) {
    std::uint64_t h = 0xcbf29ce484222325ull;
    for (const std::uint32_t word : words) h = (h ^ word) * 0x100000001b3ull;
    return static_cast<std::size_t>(h ^ (h >> 32));
  }
  void grow() {
    slots_.assign(std::max<std::size_t>(64, slots_.size() * 2), kFree);
    for (std::uint32_t id = 0; id < begins_.size(); ++id) {
      std::size_t slot = hash(at(id)) & (slots_.size() - 1);
      while (slots_[slot] != kFree) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = id;
    }
  }
  std::vector<std::uint32_t> words_, begins_, slots_;
};

// A set of 64-bit keys that is emptied often.
class QuickSet {
 public:
  void clear() {
    if (++round_ == 0) std::fill(stamps_.begin(), stamps_.end(), 0), round_ = 1;
    count_ = 0;
  }
  bool contains(std::uint64_t key) const {
    if (count_ == 0) return false;
    std::size_t slot = slot_of(key);
    for (; stamps_[slot] == round_; slot = (slot + 1) & (keys_.size() - 1))
      if (keys_[slot] == key) return true;
    return false;
  }
  // True where the key is new.
  bool insert(std::uint64_t key) {
    if (2 * (count_ + 1) > keys_.size()) grow();
    if (!place(key)) return false;
    ++count_;
    return true;
  }

 private:
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15ull) >> 20) & (keys_.size() - 1);
  }
  bool place(std::uint64_t key) {
    std::size_t slot = slot_of(key);
    for (; stamps_[slot] == round_; slot = (slot + 1) & (keys_.size() - 1))
      if (keys_[slot] == key) return false;
    keys_[slot] = key;
    stamps_[slot] = round_;
    return true;
  }
  void grow() {
    const std::vector<std::uint64_t> keys = std::move(keys_);
    const std::vector<std::uint32_t> stamps = std::move(stamps_);
    keys_.assign(std::max<std::size_t>(64, keys.size() * 2), 0);
    stamps_.assign(keys_.size(), 0);
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (stamps[i] == round_) place(keys[i]);
  }
  std::vector<std::uint64_t> keys_;
  std::vector<std::uint32_t> stamps_;
  std::uint32_t round_ = 1;
  std::size_t count_ = 0;
};

}  // namespace nacelle::constrain
