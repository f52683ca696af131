// Recursive descent over a pattern in UTF-8.
#include <algorithm>

#include "core/base/error.hpp"
#include "core/base/hex.hpp"
#include "core/constrain/regex.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

class RegexParser {
 public:
  RegexParser(std::string_view text, const RegexDialect& dialect, const GrammarLimits& limits)
      : text_(text), dialect_(dialect), limits_(limits) {
    if (!unicode::is_valid(text)) fail("it is not valid UTF-8");
  }

  RegexNode parse() {
    RegexNode node = alternatives(0);
    if (!at_end()) fail("there is a ) without its (");
    return node;
  }

 private:
  using Kind = RegexNode::Kind;

  bool at_end() const { return at_ == text_.size(); }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  char32_t next() {
    if (at_end()) fail("it ends too early");
    return unicode::next_code_point(text_, at_);
  }

  [[noreturn]] void fail(const std::string& why, ErrorKind kind = ErrorKind::kInvalidArgument) const {
    throw Error(kind, "the regular expression is refused at byte " + std::to_string(at_) + ": " + why);
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    fail(what + " cannot be matched while text is generated; write the pattern without", ErrorKind::kUnsupported);
  }

  static RegexNode chars(CharSet set) {
    RegexNode node;
    node.kind = Kind::kChars;
    node.chars = std::move(set);
    return node;
  }
  static CharSet one(char32_t c) { return {{c, c}}; }

  RegexNode alternatives(unsigned depth) {
    if (depth > limits_.nesting) fail("groups are nested deeper than " + std::to_string(limits_.nesting) + " levels");
    RegexNode node = sequence(depth);
    if (peek() != '|' || at_end()) return node;
    RegexNode all;
    all.kind = Kind::kAlternatives;
    all.children.push_back(std::move(node));
    while (take("|")) all.children.push_back(sequence(depth));
    return all;
  }

  RegexNode sequence(unsigned depth) {
    RegexNode node;
    while (!at_end() && peek() != '|' && peek() != ')') {
      RegexNode item = atom(depth);
      node.children.push_back(repeated(std::move(item)));
    }
    return node;
  }

  RegexNode atom(unsigned depth) {
    if (take("(")) return group(depth);
    if (take("[")) return chars(char_class());
    if (take(".")) {
      CharSet ends = {{'\n', '\n'}};
      if (dialect_.dot_stops_at_all_line_ends) ends = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
      return chars(ends.inverse());
    }
    RegexNode node;
    if (take("^")) return node.kind = Kind::kBegin, node;
    if (take("$")) return node.kind = Kind::kEnd, node;
    if (take("\\")) return escape_atom();
    const char c = peek();
    if (c == '*' || c == '+' || c == '?') fail(std::string("there is nothing before ") + c + " to repeat");
    return chars(one(next()));
  }

  RegexNode group(unsigned depth) {
    if (take("?")) {
      if (take(":")) {
      } else if (take("=") || take("!")) {
        unsupported("a look-ahead, (?= or (?!,");
      } else if (take("P<") || (peek() == '<' && !text_.substr(at_).starts_with("<=") &&
                                !text_.substr(at_).starts_with("<!") && take("<"))) {
        while (!take(">")) next();
      } else if (take("<=") || take("<!")) {
        unsupported("a look-behind, (?<= or (?<!,");
      } else {
        unsupported("a group with (?" + std::string(text_.substr(at_, 1)));
      }
    }
    RegexNode node = alternatives(depth + 1);
    if (!take(")")) fail("a ( is not closed");
    return node;
  }

  // The escapes that stand for a set of characters; nullopt for others.
  std::optional<CharSet> set_escape() {
    switch (peek()) {
      case 'd': return ++at_, digit_chars();
      case 'D': return ++at_, digit_chars().inverse();
      case 'w': return ++at_, word_chars();
      case 'W': return ++at_, word_chars().inverse();
      case 's': return ++at_, space_chars();
      case 'S': return ++at_, space_chars().inverse();
      case 'p':
      case 'P': return property();
      default: return std::nullopt;
    }
  }

  CharSet property() {
    const bool inverse = text_[at_++] == 'P';
    std::string_view name;
    if (take("{")) {
      const std::size_t end = text_.find('}', at_);
      if (end == std::string_view::npos) fail("\\p{ is not closed");
      name = text_.substr(at_, end - at_);
      at_ = end + 1;
    } else {
      name = text_.substr(at_, 1);
      at_ += name.size();
    }
    for (const std::string_view prefix : {"gc=", "General_Category="})
      if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    const auto set = category_chars(name);
    if (!set)
      fail("the property \\p{" + std::string(name.substr(0, 40)) + "} is not known; general categories are",
           ErrorKind::kUnsupported);
    return inverse ? set->inverse() : *set;
  }

  char32_t hex(std::size_t digits) {
    char32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const int digit = hex_digit(peek());
      if (digit < 0) fail("a hexadecimal digit is missing");
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    return value;
  }

  // Behind "\u": uXXXX, u{...}, and a pair of surrogates.
  char32_t unicode_escape() {
    if (take("{")) {
      const std::size_t end = text_.find('}', at_);
      if (end == std::string_view::npos || end == at_ || end - at_ > 6) fail("\\u{ needs 1 to 6 digits and a }");
      const char32_t c = hex(end - at_);
      ++at_;
      if (c > 0x10FFFF) fail("a code point is above 10FFFF");
      return c;
    }
    const char32_t high = hex(4);
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high >= 0xDC00 || !take("\\u")) fail("a surrogate stands alone");
    const char32_t low = hex(4);
    if (low < 0xDC00 || low > 0xDFFF) fail("a surrogate stands alone");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  // One character behind a backslash.
  char32_t char_escape() {
    const char32_t c = next();
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'f': return '\f';
      case 'v': return '\v';
      case 'a': return 7;
      case 'e': return 27;
      case '0': return 0;
      case 'x': return hex(2);
      case 'u': return unicode_escape();
      case 'c': return next() & 31;
      default: break;
    }
    const bool plain = c >= 0x80 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
    if (!plain) {
      --at_;
      fail(std::string("the escape \\") + static_cast<char>(c) + " is not known", ErrorKind::kUnsupported);
    }
    return c;
  }

  RegexNode escape_atom() {
    if (auto set = set_escape()) return chars(std::move(*set));
    const char c = peek();
    if (c == 'b' || c == 'B') unsupported(std::string("\\") + c);
    if ((c >= '1' && c <= '9') || c == 'k') unsupported("a back-reference");
    RegexNode node;
    if (c == 'A') return ++at_, node.kind = Kind::kBegin, node;
    if (c == 'Z' || c == 'z') return ++at_, node.kind = Kind::kEnd, node;
    return chars(one(char_escape()));
  }

  CharSet char_class() {
    const bool inverse = take("^");
    CharSet set;
    std::vector<std::pair<char32_t, char32_t>> ranges;
    for (bool first = true; !take("]"); first = false) {
      if (at_end()) fail("a [ is not closed");
      if (first && peek() == ']' && inverse) fail("[^] is not supported; write [\\s\\S]", ErrorKind::kUnsupported);
      if (take("[:")) fail("POSIX classes are not supported", ErrorKind::kUnsupported);
      std::optional<CharSet> several;
      const char32_t low = class_char(several);
      if (several) {
        set.add(*several);
        continue;
      }
      char32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = class_char(several);
        if (several) fail("a range ends in a set of characters");
        if (high < low) fail("a range of characters goes backwards");
      }
      ranges.emplace_back(low, high);
    }
    set.add(CharSet(std::move(ranges)));
    return inverse ? set.inverse() : set;
  }

  char32_t class_char(std::optional<CharSet>& several) {
    if (!take("\\")) return next();
    if ((several = set_escape())) return 0;
    if (take("b")) return 8;
    return char_escape();
  }

  // A number, saturating far above every limit; false where there is none.
  bool count(std::uint64_t& value) {
    const std::size_t begin = at_;
    value = 0;
    while (peek() >= '0' && peek() <= '9') value = std::min<std::uint64_t>(value * 10 + (text_[at_++] - '0'), 1u << 30);
    return at_ != begin;
  }

  // {m}, {m,}, {m,n}; a brace that is none of these stands for itself, as in ECMA-262.
  bool braces(std::uint32_t& min, std::uint32_t& max) {
    const std::size_t begin = at_;
    if (!take("{")) return false;
    std::uint64_t low = 0, high = 0;
    bool good = count(low);
    if (good && take(",")) {
      const bool bounded = count(high);
      if (!bounded) high = kUnbounded;
    } else {
      high = low;
    }
    if (!good || !take("}")) return at_ = begin, false;
    if (low > limits_.repeats || (high != kUnbounded && high > limits_.repeats))
      fail("a count is above " + std::to_string(limits_.repeats));
    if (high < low) fail("a count's bounds are the wrong way round");
    min = static_cast<std::uint32_t>(low), max = static_cast<std::uint32_t>(high);
    return true;
  }

  RegexNode repeated(RegexNode item) {
    std::uint32_t min = 0, max = 0;
    if (take("*"))
      min = 0, max = kUnbounded;
    else if (take("+"))
      min = 1, max = kUnbounded;
    else if (take("?"))
      min = 0, max = 1;
    else if (!braces(min, max))
      return item;
    if (!take("?") && take("+")) fail("possessive repeats are not supported", ErrorKind::kUnsupported);
    const char c = peek();
    if (!at_end() && (c == '*' || c == '+' || c == '?')) fail("a repeat follows a repeat");
    if (item.kind == Kind::kBegin || item.kind == Kind::kEnd) fail("^ and $ cannot be repeated");
    RegexNode node;
    node.kind = Kind::kRepeat;
    node.min = min, node.max = max;
    node.children.push_back(std::move(item));
    return node;
  }

  std::string_view text_;
  RegexDialect dialect_;
  const GrammarLimits& limits_;
  std::size_t at_ = 0;
};

}  // namespace

void check_pattern_size(std::string_view pattern, const GrammarLimits& limits) {
  if (pattern.size() > limits.pattern)
    throw Error(ErrorKind::kInvalidArgument, "the regular expression has " + std::to_string(pattern.size()) +
                                                 " bytes, at most " + std::to_string(limits.pattern) +
                                                 " are read; make it shorter");
}

RegexNode parse_regex(std::string_view pattern, const RegexDialect& dialect, const GrammarLimits& limits) {
  return RegexParser(pattern, dialect, limits).parse();
}

}  // namespace nacelle::constrain
