#include "core/engine/lookup.hpp"

#include <algorithm>

namespace nacelle {
namespace {

// The longer the repeated piece, the likelier its continuation; two tokens are the fewest that say anything.
constexpr std::size_t kLongest = 3, kShortest = 2;
// How far back to look: a scan of this takes about ten microseconds.
constexpr std::size_t kReach = 16384;

// End of the latest occurrence of the last `length` tokens before their own; 0 where there is none.
std::size_t find_earlier(std::span<const TokenId> tokens, std::size_t length) {
  const auto piece = tokens.last(length);
  const TokenId last = piece.back();
  const std::size_t first = tokens.size() > kReach ? tokens.size() - kReach : 0;
  for (std::size_t end = tokens.size() - 1; end >= first + length; --end)
    if (tokens[end - 1] == last && std::equal(piece.begin(), piece.end() - 1, tokens.begin() + (end - length)))
      return end;
  return 0;
}

}  // namespace

void look_up(std::span<const TokenId> tokens, std::uint32_t most, std::vector<TokenId>& guess) {
  guess.clear();
  for (std::size_t length = kLongest; length >= kShortest; --length) {
    if (tokens.size() <= length) continue;
    const std::size_t end = find_earlier(tokens, length);
    if (end == 0) continue;
    const std::size_t circle = tokens.size() - end;
    for (std::uint32_t i = 0; i < most; ++i) guess.push_back(i < circle ? tokens[end + i] : guess[i - circle]);
    return;
  }
}

}  // namespace nacelle
