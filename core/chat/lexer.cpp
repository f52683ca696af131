// The lexer: finds the next tag, settles the white space around it, then cuts the tag's inside into tokens.
#include "core/chat/lexer.hpp"

#include <algorithm>
#include <utility>

#include "core/base/hex.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

namespace {

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) {
      const std::size_t tag = find_tag();
      if (tag == source_.size()) {
        add_data(pos_, source_.substr(pos_));
        break;
      }
      lex_tag(tag);
    }
    add(TokenType::kEnd, {}, source_.size());
    return std::move(tokens_);
  }

 private:
  void add(TokenType type, std::string_view text, std::size_t at) { tokens_.push_back({type, std::string(text), at}); }

  void add_data(std::size_t at, std::string_view text) {
    if (!text.empty()) add(TokenType::kData, text, at);
  }

  std::size_t find_tag() const {
    for (std::size_t i = pos_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  bool at(std::size_t pos, std::string_view text) const {
    return source_.substr(std::min(pos, source_.size())).starts_with(text);
  }

  std::size_t skip_space(std::size_t pos) const {
    const std::string_view rest = source_.substr(pos);
    return pos + rest.size() - strip(rest, Side::kLeft).size();
  }

  // The data before a tag, cut as the tag's sign ('-', '+' or none) and lstrip_blocks say.
  std::string_view data_before(std::size_t tag, char sign, bool variable) const {
    std::string_view data = source_.substr(pos_, tag - pos_);
    if (sign == '-') return strip(data, Side::kRight);
    if (sign == '+' || variable) return data;
    const std::size_t line = data.rfind('\n') + 1;  // npos + 1 is 0
    if (line == 0 && pos_ > 0 && source_[pos_ - 1] != '\n') return data;
    return strip(data.substr(line), Side::kBoth).empty() ? data.substr(0, line) : data;
  }

  char sign_at(std::size_t pos) const {
    return pos < source_.size() && (source_[pos] == '-' || source_[pos] == '+') ? source_[pos] : '\0';
  }

  void lex_tag(std::size_t tag) {
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    const std::size_t inside = tag + (sign ? 3 : 2);
    add_data(pos_, data_before(tag, sign, kind == '{'));
    if (kind == '#') {
      skip_comment(tag, inside);
    } else if (kind == '%' && is_word(skip_space(inside), "raw")) {
      lex_raw(tag, skip_space(inside) + 3);
    } else {
      const bool variable = kind == '{';
      add(variable ? TokenType::kVariableBegin : TokenType::kBlockBegin, source_.substr(tag, 2), tag);
      pos_ = inside;
      lex_inside(tag, variable);
    }
  }

  bool is_word(std::size_t pos, std::string_view word) const {
    return at(pos, word) && (pos + word.size() >= source_.size() || !is_name_part(source_[pos + word.size()]));
  }
  static bool is_name_part(char c) { return is_name_start(c) || is_ascii_digit(c); }

  // Behind a tag's end: '-' strips the white space that follows, and trim_blocks drops one newline unless '+' is there.
  void finish_tag(std::size_t end, char sign, bool trims) {
    pos_ = end;
    if (sign == '-') {
      pos_ = skip_space(pos_);
    } else if (trims && sign != '+' && at(pos_, "\n")) {
      ++pos_;
    }
  }

  void skip_comment(std::size_t tag, std::size_t inside) {
    const std::size_t close = source_.find("#}", inside);
    if (close == std::string_view::npos) throw SyntaxError("this comment has no end; expected '#}'", tag);
    finish_tag(close + 2, close > inside ? sign_at(close - 1) : '\0', true);
  }

  // Matches "{%- endraw" forms only, so that any other tag passes through as text.
  void lex_raw(std::size_t tag, std::size_t after_word) {
    std::size_t pos = skip_space(after_word);
    const char open_sign = at(pos, "-%}") ? '-' : '\0';
    if (open_sign) ++pos;
    if (!at(pos, "%}")) throw SyntaxError("expected '%}' behind 'raw'", tag);
    finish_tag(pos + 2, open_sign, false);
    for (std::size_t open = source_.find("{%", pos_); open != std::string_view::npos;
         open = source_.find("{%", open + 2)) {
      const char sign = sign_at(open + 2);
      const std::size_t word = skip_space(open + (sign ? 3 : 2));
      if (!is_word(word, "endraw")) continue;
      const std::size_t end = skip_space(word + 6);
      const char close_sign = sign_at(end);
      if (!at(end + (close_sign ? 1 : 0), "%}")) continue;
      add_data(pos_, data_before(open, sign, false));
      finish_tag(end + (close_sign ? 3 : 2), close_sign, true);
      return;
    }
    throw SyntaxError("this raw block has no end; expected '{% endraw %}'", tag);
  }

  void lex_inside(std::size_t tag, bool variable) {
    const std::string_view end = variable ? "}}" : "%}";
    std::vector<char> brackets;
    while (true) {
      pos_ = skip_space(pos_);
      if (pos_ >= source_.size()) {
        throw SyntaxError("this tag has no end; expected '" + std::string(end) + "'", tag);
      }
      if (brackets.empty()) {
        const char sign = sign_at(pos_);
        const bool signed_end = sign && (sign == '-' || !variable) && at(pos_ + 1, end);
        if (signed_end || at(pos_, end)) {
          add(variable ? TokenType::kVariableEnd : TokenType::kBlockEnd, end, pos_);
          finish_tag(pos_ + (signed_end ? 3 : 2), signed_end ? sign : '\0', !variable);
          return;
        }
      }
      lex_token(brackets);
    }
  }

  void lex_token(std::vector<char>& brackets) {
    const char c = source_[pos_];
    if (is_name_start(c)) {
      std::size_t end = pos_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      add(TokenType::kName, source_.substr(pos_, end - pos_), pos_);
      pos_ = end;
    } else if (is_ascii_digit(c)) {
      lex_number();
    } else if (c == '\'' || c == '"') {
      lex_string(c);
    } else {
      lex_operator(brackets);
    }
  }

  void lex_operator(std::vector<char>& brackets) {
    static constexpr std::string_view kSigns[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                  "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                  ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns), [&](auto s) { return at(pos_, s); });
    if (sign == std::end(kSigns)) {
      const std::size_t size = code_point_size(source_, pos_);
      throw SyntaxError("unexpected character '" + std::string(source_.substr(pos_, size)) + "'", pos_);
    }
    const char c = (*sign)[0];
    if (c == '(' || c == '[' || c == '{') brackets.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty()) throw SyntaxError(std::string("'") + c + "' closes nothing", pos_);
      if (brackets.back() != c)
        throw SyntaxError(std::string("expected '") + brackets.back() + "', not '" + c + "'", pos_);
      brackets.pop_back();
    }
    add(TokenType::kOperator, *sign, pos_);
    pos_ += sign->size();
  }

  std::string digits() {
    std::string out;
    while (pos_ < source_.size() && (is_ascii_digit(source_[pos_]) || (source_[pos_] == '_' && !out.empty()))) {
      if (source_[pos_] != '_') out += source_[pos_];
      ++pos_;
    }
    return out;
  }

  void lex_number() {
    const std::size_t start = pos_;
    // A number behind a dot is an index: a.0.1
    const bool index = !tokens_.empty() && tokens_.back().is_operator(".");
    std::string text = digits();
    bool real = false;
    const auto digit_at = [&](std::size_t p) { return p < source_.size() && is_ascii_digit(source_[p]); };
    if (!index && at(pos_, ".") && digit_at(pos_ + 1)) {
      real = true;
      ++pos_;
      text += "." + digits();
    }
    if (!index && (at(pos_, "e") || at(pos_, "E")) && digit_at(pos_ + (sign_at(pos_ + 1) ? 2 : 1))) {
      real = true;
      text += 'e';
      if (source_[++pos_] == '-') text += '-';
      if (sign_at(pos_)) ++pos_;
      text += digits();
    }
    if (pos_ < source_.size() && is_name_start(source_[pos_])) throw SyntaxError("malformed number", start);
    add(real ? TokenType::kFloat : TokenType::kInteger, text, start);
  }

  void lex_string(char quote) {
    const std::size_t start = pos_++;
    std::string out;
    while (pos_ < source_.size() && source_[pos_] != quote) {
      if (source_[pos_] == '\\' && pos_ + 1 < source_.size()) {
        unescape(out);
      } else {
        out += source_[pos_++];
      }
    }
    if (pos_ >= source_.size()) throw SyntaxError(std::string("this string has no end; expected ") + quote, start);
    ++pos_;
    add(TokenType::kString, out, start);
  }

  // Python's escapes; a backslash before anything else stands for itself.
  void unescape(std::string& out) {
    static constexpr std::string_view kLetters = "ntr\\'\"abfv", kMeaning = "\n\t\r\\'\"\a\b\f\v";
    const char c = source_[pos_ + 1];
    const std::size_t known = kLetters.find(c);
    if (known != std::string_view::npos) {
      out += kMeaning[known];
      pos_ += 2;
    } else if (c == '\n') {
      pos_ += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t start = pos_;
      pos_ += 2;
      char32_t code = read_code(16, c == 'x' ? 2 : c == 'u' ? 4 : 8, start);
      // JSON writes emoji as two surrogates; keep them one character.
      if (code >= 0xD800 && code < 0xDC00 && at(pos_, "\\u")) {
        pos_ += 2;
        const char32_t low = read_code(16, 4, start);
        code = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
      }
      append_utf8(out, code);
    } else if (c >= '0' && c <= '7') {
      ++pos_;
      append_utf8(out, read_code(8, 3, pos_));
    } else {
      out += '\\';
      ++pos_;
    }
  }

  // Up to `digits` digits of an escape; a hexadecimal one must have them all.
  char32_t read_code(char32_t base, int count, std::size_t start) {
    char32_t code = 0;
    int read = 0;
    for (; read < count && pos_ < source_.size(); ++read, ++pos_) {
      const int digit = hex_digit(source_[pos_]);
      if (digit < 0 || static_cast<char32_t>(digit) >= base) break;
      code = code * base + static_cast<char32_t>(digit);
    }
    if (base == 16 && read < count) throw SyntaxError("malformed escape in a string", start);
    return code;
  }

  std::string_view source_;
  std::size_t pos_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace nacelle::jinja
