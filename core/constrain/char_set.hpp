// Sets of Unicode code points, and how a network reads one of them in UTF-8.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/constrain/network.hpp"

namespace nacelle::constrain {

// Ranges ascend and neither touch nor overlap. Surrogates are no code points here: they are never read.
class CharSet {
 public:
  CharSet() = default;
  CharSet(std::initializer_list<std::pair<char32_t, char32_t>> ranges);
  explicit CharSet(std::vector<std::pair<char32_t, char32_t>> ranges);
  static CharSet all();

  void add(char32_t low, char32_t high);
  void add(const CharSet& other);
  CharSet inverse() const;
  bool empty() const noexcept { return ranges_.empty(); }
  const std::vector<std::pair<char32_t, char32_t>>& ranges() const noexcept { return ranges_; }

 private:
  void normalise();
  std::vector<std::pair<char32_t, char32_t>> ranges_;
};

CharSet digit_chars();  // 0-9
CharSet word_chars();   // A-Z a-z 0-9 _
CharSet space_chars();  // what ECMA-262 calls white space and line ends
// A general category ("L", "Lu", "Letter", "Uppercase_Letter", ...), or "Any" and "ASCII"; nullopt for others.
std::optional<CharSet> category_chars(std::string_view name);

// Reads one code point of the set and returns where that ends. An empty set makes a dead end.
PositionId read_char(Network& network, PositionId from, const CharSet& set);

}  // namespace nacelle::constrain
