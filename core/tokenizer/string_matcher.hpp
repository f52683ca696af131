// Finds which of many strings start at a place of a text: sorted strings, narrowed byte by byte.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nacelle {

// Holds views: the strings must outlive it. Immutable once built.
class StringMatcher {
 public:
  struct Entry {
    std::string_view text;
    std::int32_t value;
  };

  StringMatcher() = default;
  explicit StringMatcher(std::vector<Entry> entries) : entries_(std::move(entries)) {  // empty texts never match
    std::stable_sort(entries_.begin(), entries_.end(), [](auto& a, auto& b) { return a.text < b.text; });
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].text.empty()) continue;
      Range& range = first_[static_cast<unsigned char>(entries_[i].text[0])];
      if (range.begin == range.end) range.begin = static_cast<std::uint32_t>(i);
      range.end = static_cast<std::uint32_t>(i + 1);
    }
  }

  bool empty() const noexcept { return entries_.empty(); }
  // True where some string starts with this byte.
  bool may_start(char byte) const noexcept {
    const Range& range = first_[static_cast<unsigned char>(byte)];
    return range.begin != range.end;
  }

  // Calls visit(entry) for each string that text[pos...] starts with, shortest first. O(length of the longest * log n).
  template <class Visit>
  void for_each_at(std::string_view text, std::size_t pos, const Visit& visit) const {
    if (pos >= text.size()) return;
    auto [begin, end] = first_[static_cast<unsigned char>(text[pos])];
    for (std::size_t depth = 1; begin < end; ++depth) {
      // All of [begin, end) share the first `depth` bytes; those that end here come first.
      for (; begin < end && entries_[begin].text.size() == depth; ++begin) visit(entries_[begin]);
      if (pos + depth >= text.size() || begin == end) return;
      const auto next = static_cast<unsigned char>(text[pos + depth]);
      const auto at = [&](const Entry& e) { return static_cast<unsigned char>(e.text[depth]); };
      const auto from = entries_.begin() + begin, to = entries_.begin() + end;
      const auto low = std::partition_point(from, to, [&](const Entry& e) { return at(e) < next; });
      const auto high = std::partition_point(low, to, [&](const Entry& e) { return at(e) <= next; });
      begin = static_cast<std::uint32_t>(low - entries_.begin());
      end = static_cast<std::uint32_t>(high - entries_.begin());
    }
  }

 private:
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };
  std::vector<Entry> entries_;
  std::array<Range, 256> first_{};
};

}  // namespace nacelle
