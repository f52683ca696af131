// UTF-8 and the Unicode properties and normal forms that tokenizers are defined by (tables: utf8proc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nacelle::unicode {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";    // U+2581, SentencePiece's space

// Length in bytes (1 to 4) of the sequence that a lead byte of valid UTF-8 starts.
inline std::size_t sequence_length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// Reads the code point at `pos` of valid UTF-8 and moves `pos` past it.
inline char32_t next_code_point(std::string_view text, std::size_t& pos) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = sequence_length(lead);
  char32_t c = lead;
  if (length == 2) c = (lead & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
  if (length == 3) c = (lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
  if (length == 4) c = (lead & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
  pos += length;
  return c;
}
// The code point that ends right before `pos`; moves `pos` to its start. `pos` must be above 0.
char32_t previous_code_point(std::string_view text, std::size_t& pos);

void append(std::string& out, char32_t c);

// Appends `bytes` to `out` with each maximal invalid part replaced by U+FFFD (as the Unicode standard, chapter 3.9,
// recommends). Returns how many bytes at the end are the start of an unfinished code point; those are not appended.
std::size_t append_valid(std::string& out, std::string_view bytes);

// True when every byte of `text` belongs to a well-formed sequence.
bool is_valid(std::string_view text);

bool is_whitespace(char32_t c);         // White_Space
bool is_number(char32_t c);             // N*
bool is_punctuation(char32_t c);        // P*, and all of ASCII's !"#$%&'()*+,-./:;<=>?@[\]^_`{|}~
bool is_word(char32_t c);               // letter, mark, decimal digit or connector: a regex's \w
bool is_mark(char32_t c);               // M*
bool is_nonspacing_mark(char32_t c);    // Mn
bool is_control_or_format(char32_t c);  // Cc, Cf, Co
bool is_cjk_ideograph(char32_t c);      // the blocks that BERT splits into single characters

// Appends the lower case of `c`: one code point, except for U+0130.
void append_lower(std::string& out, char32_t c);

enum class Form { kNfc, kNfd, kNfkc, kNfkd };
// Normalizes valid UTF-8. O(n log n) even for endless runs of combining marks.
std::string normalize(std::string_view text, Form form);

}  // namespace nacelle::unicode
