// UTF-8 and Unicode properties over utf8proc.
#include "core/tokenizer/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "core/base/error.hpp"

namespace nacelle::unicode {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

// What a lead byte promises: the sequence's length and the range of its second byte, which rules out overlong forms,
// surrogates and what lies above U+10FFFF (Unicode standard, table 3-7). Length 0: not a lead byte.
struct Lead {
  std::size_t length;
  unsigned char low, high;
};
Lead classify(unsigned char b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xC2 || b > 0xF4) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b < 0xF0)
    return {3, static_cast<unsigned char>(b == 0xE0 ? 0xA0 : 0x80),
            static_cast<unsigned char>(b == 0xED ? 0x9F : 0xBF)};
  return {4, static_cast<unsigned char>(b == 0xF0 ? 0x90 : 0x80), static_cast<unsigned char>(b == 0xF4 ? 0x8F : 0xBF)};
}

// Bytes of `text` at `pos` that form a code point or the longest start of one; `whole` tells which.
std::size_t scan(std::string_view text, std::size_t pos, bool& whole) {
  const Lead lead = classify(static_cast<unsigned char>(text[pos]));
  whole = lead.length == 1;
  if (lead.length <= 1) return 1;
  std::size_t n = 1;
  for (; n < lead.length && pos + n < text.size(); ++n) {
    const auto b = static_cast<unsigned char>(text[pos + n]);
    if (n == 1 ? b < lead.low || b > lead.high : (b & 0xC0) != 0x80) return n;
  }
  whole = n == lead.length;
  return n;
}

bool is_ascii_from(std::string_view text, unsigned char limit) {
  return std::all_of(text.begin(), text.end(), [&](char c) { return static_cast<unsigned char>(c) < limit; });
}

}  // namespace

char32_t previous_code_point(std::string_view text, std::size_t& pos) {
  do --pos;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80);
  std::size_t at = pos;
  return next_code_point(text, at);
}

void append(std::string& out, char32_t c) {
  utf8proc_uint8_t buffer[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(n));
}

std::size_t append_valid(std::string& out, std::string_view bytes) {
  std::size_t done = 0;  // everything before it is in `out`
  for (std::size_t pos = 0; pos < bytes.size();) {
    if (static_cast<unsigned char>(bytes[pos]) < 0x80) {
      ++pos;
      continue;
    }
    bool whole = false;
    const std::size_t n = scan(bytes, pos, whole);
    if (!whole) {
      out.append(bytes, done, pos - done);
      const bool unfinished = pos + n == bytes.size() && classify(static_cast<unsigned char>(bytes[pos])).length > n;
      if (unfinished) return n;
      out += kReplacement;
      done = pos + n;
    }
    pos += n;
  }
  out.append(bytes, done, bytes.size() - done);
  return 0;
}

bool is_valid(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    bool whole = true;
    pos += static_cast<unsigned char>(text[pos]) < 0x80 ? 1 : scan(text, pos, whole);
    if (!whole) return false;
  }
  return true;
}

bool is_whitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  if (c == 0x85) return true;
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

bool is_number(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool is_word(char32_t c) {
  const auto k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || is_mark(c) || k == UTF8PROC_CATEGORY_ND ||
         k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC;
}

bool is_nonspacing_mark(char32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }

bool is_control_or_format(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

bool is_cjk_ideograph(char32_t c) {
  // The fifth range starts at 2B920, not 2B820: so do BERT's published tokenizers, and their models were trained so.
  static constexpr struct {
    char32_t low, high;
  } kRanges[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                 {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  return std::any_of(std::begin(kRanges), std::end(kRanges), [&](auto& r) { return c >= r.low && c <= r.high; });
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {
    out += "i\xCC\x87";
  } else {
    append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

std::string normalize(std::string_view text, Form form) {
  // Below U+0300 (lead byte 0xCC) every text is in NFC; ASCII is in all four forms.
  if (is_ascii_from(text, form == Form::kNfc ? 0xCC : 0x80)) return std::string(text);
  const bool compat = form == Form::kNfkc || form == Form::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    utf8proc_int32_t buffer[32];  // the longest decomposition, of U+FDFA, has 18
    int boundary = 0;
    const auto c = static_cast<utf8proc_int32_t>(next_code_point(text, pos));
    const auto n = utf8proc_decompose_char(c, buffer, 32, options, &boundary);
    if (n < 0 || n > 32) throw Error(ErrorKind::kInternal, "unicode: a code point has no decomposition");
    code_points.insert(code_points.end(), buffer, buffer + n);
  }
  // Canonical order. utf8proc's own pass is quadratic in a run of marks; a stable sort is not.
  const auto order = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto it = code_points.begin(); it != code_points.end();) {
    if (order(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, code_points.end(), [&](auto c) { return order(c) == 0; });
    if (end - it > 1) std::stable_sort(it, end, [&](auto a, auto b) { return order(a) < order(b); });
    it = end;
  }
  auto count = static_cast<utf8proc_ssize_t>(code_points.size());
  if (form == Form::kNfc || form == Form::kNfkc) {
    count = utf8proc_normalize_utf32(code_points.data(), count,
                                     static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (count < 0) throw Error(ErrorKind::kInternal, "unicode: composition failed");
  }
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    append(out, static_cast<char32_t>(code_points[static_cast<std::size_t>(i)]));
  return out;
}

}  // namespace nacelle::unicode
