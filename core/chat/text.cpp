// UTF-8 text by code points; Unicode's classes and simple case mappings come from utf8proc.
#include "core/chat/text.hpp"

#include <utf8proc.h>

#include <cstring>

#include "core/chat/value.hpp"

namespace nacelle::jinja {

std::size_t code_point_size(std::string_view text, std::size_t pos) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(pos);
  const std::size_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
  if (pos + size > text.size()) return 1;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(pos + i) & 0xC0) != 0x80) return 1;
  }
  return size;
}

char32_t code_point_at(std::string_view text, std::size_t pos) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[pos + i])); };
  switch (code_point_size(text, pos)) {
    case 2: return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3: return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default: return byte(0) < 0x80 ? byte(0) : 0xFFFD;
  }
}

void append_utf8(std::string& out, char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
            static_cast<char>(0x80 | (c & 0x3F))};
  } else {
    out += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
            static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  }
}

std::size_t code_point_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t pos = 0; pos < text.size(); pos += code_point_size(text, pos)) ++count;
  return count;
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
  std::size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) pos += code_point_size(text, pos);
  return pos;
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> points;
  for (std::size_t pos = 0; pos < text.size(); pos += points.back().size()) {
    points.push_back(text.substr(pos, code_point_size(text, pos)));
  }
  return points;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
char32_t to_upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t to_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t to_title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

}  // namespace

bool is_digit(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_alpha(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }
bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  const auto k = category(c);
  return k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS;  // neither unassigned, separator nor control
}

bool has_case(std::string_view text, bool upper) {
  bool found = false;
  for (std::size_t pos = 0; pos < text.size(); pos += code_point_size(text, pos)) {
    const char32_t c = code_point_at(text, pos);
    if (upper ? is_lower(c) : is_upper(c)) return false;
    found |= upper ? is_upper(c) : is_lower(c);
  }
  return found;
}

std::string change_case(std::string_view text, Case how) {
  std::string out;
  out.reserve(text.size());
  bool first = true;  // of the word (kTitle) or of the text (kCapitalize)
  for (std::size_t pos = 0, size; pos < text.size(); pos += size) {
    size = code_point_size(text, pos);
    const char32_t c = code_point_at(text, pos);
    if (size == 1 && c == 0xFFFD) {
      out += text[pos];
    } else if (how == Case::kUpper) {
      append_utf8(out, to_upper(c));
    } else if (how == Case::kLower || !first) {
      append_utf8(out, to_lower(c));
    } else {
      append_utf8(out, to_title(c));
    }
    first = how == Case::kTitle && !is_alpha(c);
  }
  return out;
}

std::string_view strip(std::string_view text, Side side, const std::string* chars) {
  const auto strips = [&](std::size_t pos, std::size_t size) {
    return chars ? find(*chars, text.substr(pos, size)) != std::string::npos : is_space(code_point_at(text, pos));
  };
  if (side != Side::kRight) {
    while (!text.empty()) {
      const std::size_t size = code_point_size(text, 0);
      if (!strips(0, size)) break;
      text.remove_prefix(size);
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      std::size_t pos = text.size() - 1;
      while (pos > 0 && text.size() - pos < 4 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) --pos;
      if (code_point_size(text, pos) != text.size() - pos) pos = text.size() - 1;
      if (!strips(pos, text.size() - pos)) break;
      text.remove_suffix(text.size() - pos);
    }
  }
  return text;
}

std::size_t find(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // memmem, not string_view::find: its two-way search cannot be driven to quadratic time.
  const void* hit = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (!hit) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(hit) - text.data());
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                    std::size_t max_bytes) {
  std::string out;
  const auto add = [&](std::string_view piece) {
    if (out.size() + piece.size() > max_bytes) throw TemplateError("replace() makes too long a string");
    out += piece;
  };
  std::size_t pos = 0;
  while (limit != 0) {
    const std::size_t hit = find(text, from, pos);
    if (hit == std::string_view::npos) break;
    add(text.substr(pos, hit - pos));
    add(to);
    pos = hit + from.size();
    if (limit > 0) --limit;
    if (from.empty()) {  // Python puts `to` before each character and at the end
      if (pos >= text.size()) break;
      const std::size_t size = code_point_size(text, pos);
      add(text.substr(pos, size));
      pos += size;
    }
  }
  add(text.substr(pos));
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  const auto is_break = [](char32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = code_point_at(text, pos);
    std::size_t end = pos + code_point_size(text, pos);
    if (is_break(c)) {
      if (c == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.push_back(text.substr(start, (keep_ends ? end : pos) - start));
      start = end;
    }
    pos = end;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace nacelle::jinja
