#include "api/chat/python_literal.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "api/chat/answer.hpp"
#include "core/base/error.hpp"

namespace nacelle::chat {
namespace {

constexpr int kDeepest = 64;  // lists in lists

void add_code_point(std::string& text, std::uint32_t point) {
  if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) point = 0xFFFD;
  if (point < 0x80) {
    text += static_cast<char>(point);
    return;
  }
  const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  const std::uint32_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(lead[more] | point >> (6 * more));
  for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (point >> (6 * i) & 0x3F));
}

// Of hexadecimal digits and nothing else.
std::optional<std::uint32_t> hexadecimal(std::string_view digits) {
  std::uint32_t value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (failure != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

class LiteralReader {
 public:
  LiteralReader(std::string_view text, std::string& json) : text_(text), json_(json) {}

  LiteralEnd value(int depth) {
    space();
    if (at_ == text_.size()) return LiteralEnd::kCut;
    switch (text_[at_]) {
      case '"':
      case '\'': return string();
      case '[': return sequence(']', depth);
      case '(': return sequence(')', depth);
      case '{': return dict(depth);
      default: return word();
    }
  }
  std::size_t at() const noexcept { return at_; }

 private:
  void space() { at_ += leading_space(text_.substr(at_)); }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  // One text or several in a row, which are one.
  LiteralEnd string() {
    std::string said;
    LiteralEnd end = LiteralEnd::kWhole;
    while (end == LiteralEnd::kWhole && at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
      end = quoted(said);
      if (end == LiteralEnd::kWhole) space();
    }
    json_ += fields::to_text(Json(said));
    if (end == LiteralEnd::kCut) json_.pop_back();  // its closing quote, which shows that it is cut
    return at_ == text_.size() ? LiteralEnd::kCut : end;
  }

  LiteralEnd quoted(std::string& said) {
    const char quote = text_[at_];
    const std::string_view rest = text_.substr(at_);
    const std::string triple(3, quote);
    if (rest.size() < 3 && rest == triple.substr(0, rest.size())) {
      at_ = text_.size();
      return LiteralEnd::kCut;  // an empty text, or three quotes
    }
    const std::string_view close = rest.starts_with(triple) ? std::string_view(triple) : rest.substr(0, 1);
    for (at_ += close.size(); at_ < text_.size();) {
      if (text_.substr(at_).starts_with(close)) {
        at_ += close.size();
        return LiteralEnd::kWhole;
      }
      if (text_[at_] != '\\')
        said += text_[at_++];
      else if (!escape(said))
        break;
    }
    at_ = text_.size();
    return LiteralEnd::kCut;
  }

  // False where it is cut.
  bool escape(std::string& said) {
    if (at_ + 1 == text_.size()) return false;
    const char c = text_[at_ + 1];
    constexpr std::string_view kNamed = "nrtbfav0\\'\"/", kMeant = std::string_view("\n\r\t\b\f\a\v\0\\'\"/", 12);
    if (const auto named = kNamed.find(c); named != std::string_view::npos) {
      said += kMeant[named];
      at_ += 2;
      return true;
    }
    if (c == '\n') {  // the text goes on in the next line
      at_ += 2;
      return true;
    }
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (at_ + 2 + digits > text_.size()) return false;
    const auto point = hexadecimal(text_.substr(at_ + 2, digits));
    if (!point) {  // as Python has it: the backslash is one
      said += text_[at_++];
      return true;
    }
    return c == 'u' && *point >= 0xD800 && *point < 0xDC00 ? surrogates(said, *point) : add(said, *point, 2 + digits);
  }
  bool add(std::string& said, std::uint32_t point, std::size_t length) {
    add_code_point(said, point);
    at_ += length;
    return true;
  }
  // JSON's, which models write as well: two escapes are one character.
  bool surrogates(std::string& said, std::uint32_t high) {
    constexpr std::size_t kOne = 6;
    const std::string_view rest = text_.substr(at_ + kOne);
    if (rest.size() < kOne && (rest.substr(0, 2) == std::string_view("\\u").substr(0, rest.size()))) return false;
    const auto low = rest.starts_with("\\u") ? hexadecimal(rest.substr(2, 4)) : std::nullopt;
    if (!low || *low < 0xDC00 || *low > 0xDFFF) return add(said, high, kOne);
    return add(said, 0x10000 + ((high - 0xD800) << 10) + (*low - 0xDC00), 2 * kOne);
  }

  LiteralEnd sequence(char close, int depth) {
    if (depth == kDeepest) return LiteralEnd::kBroken;
    ++at_;
    json_ += '[';
    for (bool first = true;; first = false) {
      space();
      if (take(close)) break;
      if (!first) json_ += ", ";
      if (const LiteralEnd end = value(depth + 1); end != LiteralEnd::kWhole) return end;
      space();
      if (at_ == text_.size()) return LiteralEnd::kCut;
      if (!take(',') && text_[at_] != close) return LiteralEnd::kBroken;
    }
    json_ += ']';
    return LiteralEnd::kWhole;
  }

  LiteralEnd dict(int depth) {
    if (depth == kDeepest) return LiteralEnd::kBroken;
    ++at_;
    json_ += '{';
    for (bool first = true;; first = false) {
      space();
      if (take('}')) break;
      if (!first) json_ += ", ";
      if (const LiteralEnd end = key(depth); end != LiteralEnd::kWhole) return end;
      space();
      if (at_ == text_.size()) return LiteralEnd::kCut;
      if (!take(':')) return LiteralEnd::kBroken;
      json_ += ": ";
      if (const LiteralEnd end = value(depth + 1); end != LiteralEnd::kWhole) return end;
      space();
      if (at_ == text_.size()) return LiteralEnd::kCut;
      if (!take(',') && text_[at_] != '}') return LiteralEnd::kBroken;
    }
    json_ += '}';
    return LiteralEnd::kWhole;
  }

  // JSON's are texts.
  LiteralEnd key(int depth) {
    const std::size_t begin = json_.size();
    const LiteralEnd end = value(depth + 1);
    if (end == LiteralEnd::kWhole && json_[begin] != '"')
      json_.replace(begin, std::string::npos, fields::to_text(Json(json_.substr(begin))));
    return end;
  }

  // True, 7, or a text without quotes.
  LiteralEnd word() {
    const std::string_view rest = text_.substr(at_);
    const std::size_t size = std::min(rest.find_first_of(" \t\r\n,:()[]{}'\"=<"), rest.size());
    if (size == 0) return LiteralEnd::kBroken;
    const std::string_view said = rest.substr(0, size);
    json_ += said == "True" ? "true" : said == "False" ? "false" : said == "None" ? "null" : number_or_text(said);
    at_ += size;
    return size == rest.size() ? LiteralEnd::kCut : LiteralEnd::kWhole;
  }
  static std::string number_or_text(std::string_view said) {
    std::string number(said);
    std::erase(number, '_');
    if (number.starts_with('+')) number.erase(0, 1);
    if (const auto dot = number.find('.'); dot != std::string::npos) {  // Python's may begin or end with it
      if (dot + 1 == number.size() || number[dot + 1] == 'e' || number[dot + 1] == 'E') number.insert(dot + 1, "0");
      if (dot == 0 || number[dot - 1] == '-') number.insert(dot, "0");
    }
    const Json json = Json::parse(number, nullptr, false);
    return json.is_number() || json.is_boolean() || json.is_null() ? number : fields::to_text(Json(said));
  }

  const std::string_view text_;
  std::string& json_;
  std::size_t at_ = 0;
};

}  // namespace

LiteralEnd read_python_literal(std::string_view text, std::size_t& taken, std::string& json) {
  LiteralReader reader(text, json);
  const LiteralEnd end = reader.value(0);
  taken = reader.at();
  return end;
}

}  // namespace nacelle::chat
