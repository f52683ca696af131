// Code point sets and their UTF-8 forms. The split of a range into byte ranges follows Thompson's in utf8.c of Plan 9.
#include "core/constrain/char_set.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <map>
#include <mutex>

namespace nacelle::constrain {
namespace {

constexpr char32_t kLast = 0x10FFFF;

struct CategoryName {
  std::string_view brief, full;
};
// In the order of utf8proc_category_t.
constexpr CategoryName kCategories[] = {{"Cn", "Unassigned"},
                                        {"Lu", "Uppercase_Letter"},
                                        {"Ll", "Lowercase_Letter"},
                                        {"Lt", "Titlecase_Letter"},
                                        {"Lm", "Modifier_Letter"},
                                        {"Lo", "Other_Letter"},
                                        {"Mn", "Nonspacing_Mark"},
                                        {"Mc", "Spacing_Mark"},
                                        {"Me", "Enclosing_Mark"},
                                        {"Nd", "Decimal_Number"},
                                        {"Nl", "Letter_Number"},
                                        {"No", "Other_Number"},
                                        {"Pc", "Connector_Punctuation"},
                                        {"Pd", "Dash_Punctuation"},
                                        {"Ps", "Open_Punctuation"},
                                        {"Pe", "Close_Punctuation"},
                                        {"Pi", "Initial_Punctuation"},
                                        {"Pf", "Final_Punctuation"},
                                        {"Po", "Other_Punctuation"},
                                        {"Sm", "Math_Symbol"},
                                        {"Sc", "Currency_Symbol"},
                                        {"Sk", "Modifier_Symbol"},
                                        {"So", "Other_Symbol"},
                                        {"Zs", "Space_Separator"},
                                        {"Zl", "Line_Separator"},
                                        {"Zp", "Paragraph_Separator"},
                                        {"Cc", "Control"},
                                        {"Cf", "Format"},
                                        {"Cs", "Surrogate"},
                                        {"Co", "Private_Use"}};
constexpr CategoryName kGroups[] = {{"L", "Letter"}, {"M", "Mark"},      {"N", "Number"}, {"P", "Punctuation"},
                                    {"S", "Symbol"}, {"Z", "Separator"}, {"C", "Other"}};

// 4 bytes at most, each a range.
struct ByteRanges {
  int count = 0;
  std::uint8_t low[4]{}, high[4]{};
};

int encode(char32_t c, std::uint8_t* out) {
  const auto tail = [](char32_t bits) { return static_cast<std::uint8_t>(0x80 | (bits & 0x3F)); };
  if (c < 0x80) return out[0] = static_cast<std::uint8_t>(c), 1;
  if (c < 0x800) return out[0] = static_cast<std::uint8_t>(0xC0 | c >> 6), out[1] = tail(c), 2;
  if (c < 0x10000)
    return out[0] = static_cast<std::uint8_t>(0xE0 | c >> 12), out[1] = tail(c >> 6), out[2] = tail(c), 3;
  out[0] = static_cast<std::uint8_t>(0xF0 | c >> 18);
  out[1] = tail(c >> 12), out[2] = tail(c >> 6), out[3] = tail(c);
  return 4;
}

template <class Visit>
void split(char32_t low, char32_t high, Visit& visit) {
  for (const char32_t border : {0x7Fu, 0x7FFu, 0xFFFFu})
    if (low <= border && border < high) return split(low, border, visit), split(border + 1, high, visit);
  if (high >= 0x80) {
    for (int i = 1; i < 4; ++i) {
      const char32_t rest = (char32_t{1} << (6 * i)) - 1;
      if ((low & ~rest) == (high & ~rest)) continue;
      if (low & rest) return split(low, low | rest, visit), split((low | rest) + 1, high, visit);
      if ((high & rest) != rest) return split(low, (high & ~rest) - 1, visit), split(high & ~rest, high, visit);
    }
  }
  ByteRanges ranges;
  ranges.count = encode(low, ranges.low);
  encode(high, ranges.high);
  visit(ranges);
}

}  // namespace

CharSet::CharSet(std::initializer_list<std::pair<char32_t, char32_t>> ranges) : ranges_(ranges) { normalise(); }

CharSet::CharSet(std::vector<std::pair<char32_t, char32_t>> ranges) : ranges_(std::move(ranges)) { normalise(); }

CharSet CharSet::all() { return {{0, 0xD7FF}, {0xE000, kLast}}; }

void CharSet::add(char32_t low, char32_t high) {
  if (low > high) return;
  ranges_.emplace_back(low, high);
  normalise();
}

void CharSet::add(const CharSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  normalise();
}

void CharSet::normalise() {
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<char32_t, char32_t>> merged;
  const auto append = [&](char32_t low, char32_t high) {
    if (low > high) return;
    if (!merged.empty() && low <= merged.back().second + 1)
      merged.back().second = std::max(merged.back().second, high);
    else
      merged.emplace_back(low, high);
  };
  for (const auto& [low, high] : ranges_) {
    append(low, std::min<char32_t>(high, 0xD7FF));
    append(std::max<char32_t>(low, 0xE000), std::min(high, kLast));
  }
  ranges_ = std::move(merged);
}

CharSet CharSet::inverse() const {
  CharSet inverse;
  char32_t next = 0;
  for (const auto& [low, high] : ranges_) {
    if (low > next) inverse.ranges_.emplace_back(next, low - 1);
    next = high + 1;
  }
  if (next <= kLast) inverse.ranges_.emplace_back(next, kLast);
  inverse.normalise();
  return inverse;
}

CharSet digit_chars() { return {{'0', '9'}}; }
CharSet word_chars() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CharSet space_chars() {
  return {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}

namespace {

CharSet find_category(std::string_view wanted) {
  std::vector<std::pair<char32_t, char32_t>> ranges;
  for (char32_t c = 0; c <= kLast; ++c) {
    const auto category = kCategories[utf8proc_category(static_cast<utf8proc_int32_t>(c))].brief;
    if (!category.starts_with(wanted)) continue;
    if (!ranges.empty() && ranges.back().second + 1 == c)
      ranges.back().second = c;
    else
      ranges.emplace_back(c, c);
  }
  return CharSet(std::move(ranges));
}

}  // namespace

// Each is found once: all code points are looked at, which takes ten milliseconds.
std::optional<CharSet> category_chars(std::string_view name) {
  if (name == "Any") return CharSet::all();
  if (name == "ASCII") return CharSet{{0, 0x7F}};
  std::string_view wanted;
  for (const CategoryName& entry : kCategories)
    if (name == entry.brief || name == entry.full) wanted = entry.brief;
  for (const CategoryName& entry : kGroups)
    if (name == entry.brief || name == entry.full) wanted = entry.brief;
  if (wanted.empty()) return std::nullopt;
  static std::mutex mutex;
  static std::map<std::string_view, CharSet> found;
  std::lock_guard lock(mutex);
  const auto [entry, added] = found.try_emplace(wanted);
  if (added) entry->second = find_category(wanted);
  return entry->second;
}

PositionId read_char(Network& network, PositionId from, const CharSet& set) {
  const PositionId end = network.add_beside(from);
  // Positions by what is still to be read: 0 is `end`; ranges of the last bytes, packed.
  std::map<std::uint64_t, PositionId> tails{{0, end}};
  const auto visit = [&](const ByteRanges& ranges) {
    std::uint64_t tail = 0;
    PositionId to = end;
    for (int i = ranges.count - 1; i > 0; --i) {
      const std::uint64_t longer = tail << 16 | std::uint64_t{ranges.low[i]} << 8 | ranges.high[i];
      const auto [entry, added] = tails.try_emplace(longer, 0);
      if (added) {
        entry->second = network.add_beside(from);
        network.read(entry->second, ranges.low[i], ranges.high[i], to);
      }
      tail = longer, to = entry->second;
    }
    network.read(from, ranges.low[0], ranges.high[0], to);
  };
  for (const auto& [low, high] : set.ranges()) split(low, high, visit);
  return end;
}

}  // namespace nacelle::constrain
