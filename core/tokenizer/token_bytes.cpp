// Byte-level alphabet, byte tokens, spaces.
#include "core/tokenizer/token_bytes.hpp"

#include <array>
#include <cstdint>
#include <utility>

#include "core/base/hex.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// Printable bytes of Latin-1 stand for themselves; the others, in order, are U+0100, U+0101, ...
// -1: no character of the alphabet.
constexpr auto kByteOfCharacter = [] {
  std::array<std::int16_t, 0x200> byte{};
  byte.fill(-1);
  std::size_t next = 0x100;
  for (std::int16_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
    byte[printable ? static_cast<std::size_t>(b) : next++] = b;
  }
  return byte;
}();

}  // namespace

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = unicode::next_code_point(text, pos);
    if (c >= kByteOfCharacter.size() || kByteOfCharacter[c] < 0) return std::nullopt;
    out += static_cast<char>(kByteOfCharacter[c]);
  }
  return out;
}

int parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = hex_digit(c);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string unescape_spaces(std::string_view text, std::string_view mark) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at; (at = text.find(mark, done)) != std::string_view::npos; done = at + mark.size()) {
    out.append(text, done, at - done).append(" ");
  }
  return out.append(text, done, std::string_view::npos);
}

std::string wordpiece_bytes(std::string_view word, bool continuation, bool cleanup) {
  if (continuation) return std::string(word);
  static constexpr std::string_view kJoined[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
  for (const auto joined : kJoined) {
    if (cleanup && word == joined) return std::string(word);
  }
  return std::string(" ").append(word);
}

}  // namespace nacelle
