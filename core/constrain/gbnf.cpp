// One pass: a rule that is used before it is written gets its id at the first use.
#include "core/constrain/gbnf.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "core/base/error.hpp"
#include "core/base/hex.hpp"
#include "core/constrain/char_set.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

class GbnfParser {
 public:
  GbnfParser(Network& network, std::string_view text) : network_(network), text_(text) {
    if (!unicode::is_valid(text)) fail("it is not valid UTF-8");
  }

  RuleId parse() {
    for (blank(true); at_ < text_.size(); blank(true)) definition();
    for (const auto& [name, rule] : rules_)
      if (!rule.defined) fail_at(rule.first_use, "the rule \"" + name + "\" is used but not defined");
    const auto root = rules_.find("root");
    if (root == rules_.end()) fail("there is no rule \"root\" to start from");
    return root->second.id;
  }

 private:
  struct Named {
    RuleId id;
    bool defined = false;
    std::size_t first_use;
  };

  [[noreturn]] void fail_at(std::size_t at, const std::string& why,
                            ErrorKind kind = ErrorKind::kInvalidArgument) const {
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i < at && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') ++line, column = 1;
    }
    throw Error(kind, "the grammar is refused at line " + std::to_string(line) + ", column " + std::to_string(column) +
                          ": " + why);
  }
  [[noreturn]] void fail(const std::string& why, ErrorKind kind = ErrorKind::kInvalidArgument) const {
    fail_at(at_, why, kind);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  // Spaces and comments; line ends too where `lines` is set.
  void blank(bool lines) {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '#')
        while (at_ + 1 < text_.size() && text_[at_ + 1] != '\n' && text_[at_ + 1] != '\r') ++at_;
      else if (!(c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))))
        return;
    }
  }

  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }
  std::string name() {
    const std::size_t begin = at_;
    while (is_name(peek())) ++at_;
    if (at_ == begin) fail("a rule's name is missing: letters, digits, - and _");
    return std::string(text_.substr(begin, at_ - begin));
  }
  Named& rule(const std::string& called) {
    const auto found = rules_.find(called);
    if (found != rules_.end()) return found->second;
    return rules_.emplace(called, Named{network_.add_rule(called), false, at_}).first->second;
  }

  void definition() {
    const std::size_t begin = at_;
    const std::string called = name();
    Named& named = rule(called);
    blank(false);
    if (!take("::=")) fail("::= is missing behind the rule's name \"" + called + "\"");
    if (named.defined) fail_at(begin, "the rule \"" + called + "\" is defined twice");
    named.defined = true;
    blank(true);
    network_.accept(alternatives(network_.start(named.id), 0));
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') fail("the rule should end here");
  }

  PositionId alternatives(PositionId from, unsigned depth) {
    if (depth > network_.limits().nesting)
      fail("groups are nested deeper than " + std::to_string(network_.limits().nesting) + " levels");
    const PositionId end = network_.add_beside(from);
    do {
      blank(true);
      const PositionId begin = network_.add_beside(from);
      network_.skip(from, begin);
      network_.skip(sequence(begin, depth), end);
    } while (take("|"));
    return end;
  }

  PositionId sequence(PositionId from, unsigned depth) {
    for (;;) {
      blank(depth > 0);
      const char c = peek();
      if (at_ >= text_.size() || c == '|' || c == ')' || c == '\n' || c == '\r') return from;
      from = item(from, depth);
    }
  }

  // The repeat sign behind an element decides where the element is written, so it is looked for first.
  PositionId item(PositionId from, unsigned depth) {
    const std::size_t begin = at_;
    skip_element();
    std::uint32_t min = 1, max = 1;
    while (counts(min, max)) {
    }
    const std::size_t after = at_;
    at_ = begin;
    from = repeat(from, min, max, depth);
    at_ = after;
    return from;
  }

  PositionId repeat(PositionId from, std::uint32_t min, std::uint32_t max, unsigned depth) {
    if (min == 1 && max == 1) return element(from, depth);
    if (max == kUnbounded && min <= 1) {  // * and +
      const PositionId loop = network_.add_beside(from), begin = network_.add_beside(from);
      network_.skip(from, min == 0 ? loop : begin);
      network_.skip(loop, begin);
      network_.skip(element(begin, depth), loop);
      return loop;
    }
    if (max == 1) {
      const PositionId begin = network_.add_beside(from);
      network_.skip(from, begin);
      const PositionId end = element(begin, depth);
      network_.skip(from, end);
      return end;
    }
    const RuleId body = network_.add_rule("repeat");
    network_.accept(element(network_.start(body), depth));
    return network_.call(from, body, min, max);
  }

  // Moves behind an element without looking into it; what is wrong with it is found when it is written.
  void skip_element() {
    unsigned open = 0;
    do {
      if (take("\"")) {
        skip_until('"');
      } else if (take("[")) {
        skip_until(']');
      } else if (take("(")) {
        ++open;
      } else if (take(")")) {
        if (open > 0) --open;
      } else if (peek() == '#') {
        blank(false);
      } else if (is_name(peek())) {
        while (is_name(peek())) ++at_;
      } else if (at_ < text_.size()) {
        ++at_;
      }
    } while (open > 0 && at_ < text_.size());
  }
  void skip_until(char end) {
    while (at_ < text_.size() && text_[at_] != end) at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
  }

  PositionId element(PositionId from, unsigned depth) {
    if (take("\"")) return literal(from);
    if (take("[")) return read_char(network_, from, char_class());
    if (take(".")) return read_char(network_, from, CharSet::all());
    if (take("(")) {
      const PositionId end = alternatives(from, depth + 1);
      if (!take(")")) fail("a ( is not closed");
      return end;
    }
    if (peek() == '<' || peek() == '!')
      fail("tokens by name or id, <...>, are not supported: the grammar is about text", ErrorKind::kUnsupported);
    if (!is_name(peek())) fail(std::string("unexpected ") + (peek() >= ' ' ? std::string(1, peek()) : "character"));
    const std::size_t begin = at_;
    const std::string called = name();
    const RuleId id = rule(called).id;
    Named& named = rules_.at(called);
    named.first_use = std::min(named.first_use, begin);
    return network_.call(from, id);
  }

  PositionId literal(PositionId from) {
    std::string bytes;
    while (!take("\"")) {
      if (at_ >= text_.size()) fail("a \" is not closed");
      unicode::append(bytes, character());
    }
    return network_.text(from, bytes);
  }

  CharSet char_class() {
    const bool inverse = take("^");
    std::vector<std::pair<char32_t, char32_t>> ranges;
    while (!take("]")) {
      if (at_ >= text_.size()) fail("a [ is not closed");
      const char32_t low = character();
      char32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = character();
        if (high < low) fail("a range of characters goes backwards");
      }
      ranges.emplace_back(low, high);
    }
    const CharSet set(std::move(ranges));
    return inverse ? set.inverse() : set;
  }

  char32_t hex(unsigned digits) {
    char32_t value = 0;
    for (unsigned i = 0; i < digits; ++i) {
      const int digit = hex_digit(peek());
      if (digit < 0) fail("a hexadecimal digit is missing");
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) fail("an escape is no code point");
    return value;
  }

  char32_t character() {
    if (at_ >= text_.size()) fail("it ends too early");
    if (!take("\\")) return unicode::next_code_point(text_, at_);
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
      case '^': return static_cast<char32_t>(c);
      default:
        --at_;
        fail("this escape is not known: \\n \\r \\t \\xNN \\uNNNN \\UNNNNNNNN \\\" \\\\ \\[ \\] \\- \\^ are");
    }
  }

  std::optional<std::uint32_t> number() {
    const std::size_t begin = at_;
    std::uint64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min<std::uint64_t>(value * 10 + static_cast<std::uint64_t>(text_[at_++] - '0'), kUnbounded - 1u);
      if (value > network_.limits().repeats) fail("a count is above " + std::to_string(network_.limits().repeats));
    }
    if (at_ == begin) return std::nullopt;
    return static_cast<std::uint32_t>(value);
  }

  // A repeat sign behind an element; false where there is none.
  bool counts(std::uint32_t& min, std::uint32_t& max) {
    blank_inline();
    std::uint32_t low = 0, high = kUnbounded;
    if (take("*")) {
    } else if (take("+")) {
      low = 1;
    } else if (take("?")) {
      high = 1;
    } else if (take("{")) {
      blank(false);
      const auto first = number();
      if (!first) fail("a count is missing in {}");
      low = high = *first;
      blank(false);
      if (take(",")) {
        blank(false);
        high = number().value_or(kUnbounded);
        blank(false);
      }
      if (!take("}")) fail("a { is not closed");
      if (high < low) fail("a count's bounds are the wrong way round");
    } else {
      return false;
    }
    if (min != 1 || max != 1) fail("a repeat follows a repeat; put a group between them");
    min = low, max = high;
    return true;
  }
  void blank_inline() {
    std::size_t ahead = at_;
    while (ahead < text_.size() && (text_[ahead] == ' ' || text_[ahead] == '\t')) ++ahead;
    if (ahead < text_.size() &&
        (text_[ahead] == '*' || text_[ahead] == '+' || text_[ahead] == '?' || text_[ahead] == '{'))
      at_ = ahead;
  }

  Network& network_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::map<std::string, Named> rules_;
};

}  // namespace

RuleId read_gbnf(Network& network, std::string_view text) { return GbnfParser(network, text).parse(); }

}  // namespace nacelle::constrain
