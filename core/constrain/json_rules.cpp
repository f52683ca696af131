// Generic JSON.
#include "core/constrain/json_rules.hpp"

#include "core/constrain/char_set.hpp"
#include "core/constrain/regex.hpp"

namespace nacelle::constrain {

std::string json_string(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (byte < 0x20)
          out.append("\\u00").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
        else
          out += c;
    }
  }
  return out + '"';
}

PositionId JsonRules::separator(PositionId from, char c) {
  const PositionId behind = network_.text(from, {&c, 1});
  const PositionId end = network_.add_beside(from);
  network_.skip(network_.text(behind, " "), end);
  network_.skip(behind, end);
  return end;
}
PositionId JsonRules::comma(PositionId from) { return separator(from, ','); }
PositionId JsonRules::colon(PositionId from) { return separator(from, ':'); }

PositionId JsonRules::character(PositionId from) {
  Network& n = network_;
  const PositionId end = read_char(n, from, CharSet{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}.inverse());
  const PositionId slash = n.text(from, "\\");
  for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) {
    const auto byte = static_cast<std::uint8_t>(c);
    n.read(slash, byte, byte, end);
  }
  const auto hex = [&](PositionId at, PositionId to) {
    n.read(at, '0', '9', to);
    n.read(at, 'a', 'f', to);
    n.read(at, 'A', 'F', to);
  };
  const PositionId u = n.text(slash, "u");
  const PositionId three = n.add_beside(from), two = n.add_beside(from), one = n.add_beside(from);
  n.read(u, '0', '9', three);  // not D, where surrogates begin
  for (const auto& [low, high] : {std::pair{'a', 'c'}, {'e', 'f'}, {'A', 'C'}, {'E', 'F'}})
    n.read(u, static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), three);
  hex(three, two), hex(two, one), hex(one, end);
  const PositionId d = n.add_beside(from), high2 = n.add_beside(from), high1 = n.add_beside(from),
                   pair = n.add_beside(from);
  for (const char c : {'d', 'D'}) n.read(u, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), d);
  n.read(d, '0', '7', two);  // D000 to D7FF are characters
  n.read(d, '8', '9', high2), n.read(d, 'a', 'b', high2), n.read(d, 'A', 'B', high2);
  hex(high2, high1), hex(high1, pair);
  const PositionId second = n.text(pair, "\\u");
  const PositionId low3 = n.add_beside(from);
  for (const char c : {'d', 'D'}) {
    const PositionId after = n.text(second, {&c, 1});
    n.read(after, 'c', 'f', low3), n.read(after, 'C', 'F', low3);
  }
  hex(low3, one);  // D, the digit before this, this, and one more: four
  return end;
}

RuleId JsonRules::string() {
  if (string_) return *string_;
  string_ = network_.add_rule("string");
  network_.set_shared(*string_);
  const PositionId loop = network_.text(network_.start(*string_), "\"");
  network_.skip(character(loop), loop);
  network_.accept(network_.text(loop, "\""));
  return *string_;
}

RuleId JsonRules::character_rule() {
  if (character_) return *character_;
  character_ = network_.add_rule("character");
  network_.accept(character(network_.start(*character_)));
  return *character_;
}

RuleId JsonRules::string(std::uint32_t min, std::uint32_t max) {
  if (min == 0 && max == kUnbounded) return string();
  const auto [entry, added] = strings_.try_emplace({min, max}, 0);
  if (!added) return entry->second;
  const RuleId rule = entry->second = network_.add_rule("string");
  network_.set_shared(rule);
  const PositionId open = network_.text(network_.start(rule), "\"");
  network_.accept(network_.text(network_.call(open, character_rule(), min, max), "\""));
  return rule;
}

// As many as a double can hold.
constexpr std::uint32_t kWholeDigits = 308;
constexpr std::uint32_t kFractionDigits = 40;

RuleId JsonRules::digit() {
  if (digit_) return *digit_;
  digit_ = network_.add_rule("digit");
  const PositionId end = network_.add(*digit_);
  network_.read(network_.start(*digit_), '0', '9', end);
  network_.accept(end);
  return *digit_;
}

RuleId JsonRules::number() {
  if (number_) return *number_;
  number_ = network_.add_rule("number");
  Network& n = network_;
  const PositionId start = n.start(*number_), end = n.add(*number_), behind_minus = n.text(start, "-");
  n.accept(end);
  const PositionId sign = n.add(*number_), first = n.add(*number_), whole = n.add(*number_);
  n.skip(start, sign), n.skip(behind_minus, sign);
  n.read(sign, '0', '0', whole), n.read(sign, '1', '9', first);
  n.add_call(first, digit(), whole, 0, kWholeDigits - 1);
  n.skip(whole, end);
  n.add_call(n.text(whole, "."), digit(), end, 1, kFractionDigits);
  // One digit before the point, then an exponent that ends where a double does.
  const PositionId lead = n.add(*number_), mantissa = n.add(*number_);
  n.read(sign, '1', '9', lead);
  n.skip(lead, mantissa);
  n.add_call(n.text(lead, "."), digit(), mantissa, 1, kFractionDigits);
  static const Automaton exponent = match_automaton("[eE][+-]?(0?[0-9]|[1-9][0-9]|[12][0-9][0-9]|30[0-7])", {});
  n.skip(read_automaton(n, mantissa, exponent), end);
  return *number_;
}

RuleId JsonRules::integer() {
  if (integer_) return *integer_;
  integer_ = network_.add_rule("integer");
  Network& n = network_;
  const PositionId start = n.start(*integer_), end = n.add(*integer_), first = n.add(*integer_);
  n.accept(end);
  n.read(start, '0', '0', end);
  n.read(start, '1', '9', first), n.read(n.text(start, "-"), '1', '9', first);
  n.add_call(first, digit(), end, 0, kWholeDigits - 1);
  return *integer_;
}

RuleId JsonRules::value() {
  if (value_) return *value_;
  value_ = network_.add_rule("value");
  const PositionId start = network_.start(*value_), end = network_.add(*value_);
  network_.accept(end);
  for (const RuleId rule : {string(), number(), object(), array()}) network_.add_call(start, rule, end);
  network_.skip(read_any_of(network_, start, {"true", "false", "null"}), end);
  return *value_;
}

RuleId JsonRules::object() {
  if (object_) return *object_;
  object_ = network_.add_rule("object");
  Network& n = network_;
  const PositionId open = n.text(n.start(*object_), "{");
  const PositionId name = n.add_beside(open);
  n.skip(open, name);
  const PositionId member = n.call(colon(n.call(name, string())), value());
  n.skip(comma(member), name);
  const PositionId close = n.text(member, "}");
  n.read(open, '}', '}', close);
  n.accept(close);
  return *object_;
}

RuleId JsonRules::array() {
  if (array_) return *array_;
  array_ = network_.add_rule("array");
  Network& n = network_;
  const PositionId open = n.text(n.start(*array_), "[");
  const PositionId item = n.add_beside(open);
  n.skip(open, item);
  const PositionId behind = n.call(item, value());
  n.skip(comma(behind), item);
  const PositionId close = n.text(behind, "]");
  n.read(open, ']', ']', close);
  n.accept(close);
  return *array_;
}

}  // namespace nacelle::constrain
