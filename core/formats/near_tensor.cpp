#include "core/formats/near_tensor.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

#include "core/base/nearest.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

// Whether `name` ends with `tail`, as a whole part behind a dot.
bool ends_with_parts(std::string_view name, std::string_view tail) {
  return name.ends_with(tail) && (name.size() == tail.size() || name[name.size() - tail.size() - 1] == '.');
}

// The same but for what stands before: "model." is another, one more, or not there. At least two parts must be left.
bool differs_in_prefix(std::string_view name, std::string_view other) {
  const std::string_view rest = name.substr(name.find('.') + 1);
  if (rest.find('.') == std::string_view::npos) return false;
  return ends_with_parts(other, rest) || (other.find('.') != std::string_view::npos && ends_with_parts(rest, other));
}

std::vector<std::string_view> words_of(std::string_view name) {
  std::vector<std::string_view> words;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find_first_of("._-", begin), name.size());
    words.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

// One word is misspelled; short words and numbers are names of their own.
bool is_misspelled(std::string_view name, std::string_view other) {
  constexpr std::size_t kLongest = 256;  // more is no name, and costs its square
  constexpr std::size_t kSlips = 2, kShortest = 4;
  if (std::max(name.size(), other.size()) > kLongest) return false;
  const auto words = words_of(name), others = words_of(other);
  if (words.size() != others.size()) return false;
  const auto [one, two] = std::mismatch(words.begin(), words.end(), others.begin());
  if (one == words.end()) return name != other;  // dots, dashes and underscores only
  if (!std::equal(one + 1, words.end(), two + 1) || std::min(one->size(), two->size()) < kShortest) return false;
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  if (std::any_of(one->begin(), one->end(), digit) || std::any_of(two->begin(), two->end(), digit)) return false;
  return edit_distance(*one, *two) <= kSlips;
}

}  // namespace

std::string near_tensor(std::string_view name, std::span<const TensorInfo> tensors) {
  for (const TensorInfo& tensor : tensors)
    if (differs_in_prefix(name, tensor.name))
      return "; the file has " + in_quotes(tensor.name) + ", under another prefix";
  for (const TensorInfo& tensor : tensors)
    if (is_misspelled(name, tensor.name)) return "; the file has " + in_quotes(tensor.name) + ", which is nearly that";
  return {};
}

}  // namespace nacelle
