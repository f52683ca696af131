// Filters that take one value as a whole: text, numbers, JSON.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/chat/builtins.hpp"
#include "core/chat/format.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

Value upper(Call& call) { return call.heap.text(change_case(call.self_text(), Case::kUpper)); }
Value lower(Call& call) { return call.heap.text(change_case(call.self_text(), Case::kLower)); }
Value capitalize(Call& call) { return call.heap.text(change_case(call.self_text(), Case::kCapitalize)); }
Value string(Call& call) { return call.self.is_string() ? call.self : call.heap.text(call.self_text()); }

// Unlike str.title(), a word only starts behind white space or one of - ( { [ <
Value title(Call& call) {
  std::string out;
  const std::string text = call.self_text();
  bool first = true;
  for (std::size_t pos = 0; pos < text.size(); pos += code_point_size(text, pos)) {
    const std::string_view point = std::string_view(text).substr(pos, code_point_size(text, pos));
    out += change_case(point, first ? Case::kUpper : Case::kLower);
    first = is_space(code_point_at(point, 0)) || std::string_view("-({[<").find(point) != std::string_view::npos;
  }
  return call.heap.text(std::move(out));
}

Value trim(Call& call) {
  const std::string text = call.self_text();
  return call.heap.text(std::string(strip(text, Side::kBoth, call.has_value(0) ? &call.text(0) : nullptr)));
}

Value replace_text(Call& call) {
  const std::string text = call.self_text(), from = to_text(call[0], call.heap), to = to_text(call[1], call.heap);
  return call.heap.text(replace(text, from, to, call.integer(2, -1), call.heap.max_bytes()));
}

Value escape(Call& call) {
  std::string out;
  for (const char c : call.self_text()) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return call.heap.text(std::move(out));
}

Value indent(Call& call) {
  if (!call.self.is_string()) call.refuse("needs a string");
  std::string indention;
  if (call.has(0) && call[0].is_string()) {
    indention = call[0].text();
  } else {
    const auto width = static_cast<std::size_t>(std::max<std::int64_t>(call.integer(0, 4), 0));
    call.heap.check_room(width);
    indention.assign(width, ' ');
  }
  const bool first = call.flag(1, false), blank = call.flag(2, false);
  std::string out;
  std::size_t number = 0;
  const std::string text = call.self.text() + "\n";
  for (std::string_view line : split_lines(text)) {
    if (number > 0) out += '\n';
    if (number > 0 ? blank || !line.empty() : first) out += indention;
    call.heap.check_room(out.size() + line.size());
    out += line;
    ++number;
  }
  return call.heap.text(std::move(out));
}

Value wordcount(Call& call) {
  std::int64_t words = 0;
  bool inside = false;
  const std::string text = call.self_text();
  for (std::size_t pos = 0; pos < text.size(); pos += code_point_size(text, pos)) {
    const char32_t c = code_point_at(text, pos);
    const bool word = is_alpha(c) || is_digit(c) || c == '_';
    if (word && !inside) ++words;
    inside = word;
  }
  return words;
}

Value format(Call& call) {
  if (call.arguments.named.empty()) {
    return call.heap.text(format_percent(call.self_text(), call.heap.tuple(call.arguments.positional), call.heap));
  }
  if (!call.arguments.positional.empty()) call.refuse("takes positional or named arguments, not both");
  Dict* named = call.heap.dict();
  for (const auto& [name, value] : call.arguments.named) call.heap.set(*named, Value(name), value);
  return call.heap.text(format_percent(call.self_text(), Value(named), call.heap));
}

Value truncate(Call& call) {
  if (!call.self.is_string()) call.refuse("needs a string");
  const std::string& text = call.self.text();
  const std::string end = call.has(2) ? call.text(2) : "...";
  const std::int64_t size = call.integer(0, 255), leeway = call.integer(3, 5);
  const auto end_size = static_cast<std::int64_t>(code_point_count(end));
  if (size < end_size) call.refuse("needs a length of at least " + std::to_string(end_size));
  if (leeway < 0) call.refuse("needs a leeway of at least 0");
  if (static_cast<std::int64_t>(code_point_count(text)) - leeway <= size) return call.self;
  std::string cut = text.substr(0, byte_offset(text, static_cast<std::size_t>(size - end_size)));
  if (!call.flag(1, false)) cut.resize(std::min(cut.rfind(' '), cut.size()));
  return call.heap.text(cut + end);
}

std::string quote_url(std::string_view text, bool query) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
    const auto byte = static_cast<unsigned char>(c);
    if (plain)
      out += c;
    else if (c == ' ' && query)
      out += '+';
    else
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

Value urlencode(Call& call) {
  if (!call.self.is(Kind::kDict) && !call.self.is(Kind::kList))
    return call.heap.text(quote_url(call.self_text(), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quote_url(to_text(key, call.heap), true) + "=" + quote_url(to_text(value, call.heap), true);
    call.heap.check_room(out.size());
  };
  if (call.self.is(Kind::kDict)) {
    for (const auto& [key, value] : call.self.dict()->entries) add(key, value);
  } else {
    for (const Value& pair : call.self.list()->items) {
      if (!pair.is(Kind::kList) || pair.list()->items.size() != 2) call.refuse("needs a dict or a list of pairs");
      add(pair.list()->items[0], pair.list()->items[1]);
    }
  }
  return call.heap.text(std::move(out));
}

Value default_value(Call& call) {
  const bool replaced = call.self.is_undefined() || (call.flag(1, false) && !truthy(call.self, call.heap));
  if (!replaced) return call.self;
  return call.has(0) ? call[0] : call.heap.text({});
}

// Python's float(text): white space around it, no hexadecimal.
bool read_real(std::string_view text, double& real) {
  text = strip(text, Side::kBoth);
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), real);
  return error == std::errc() && end == text.data() + text.size();
}

bool read_integer(std::string_view text, int base, std::int64_t& integer) {
  text = strip(text, Side::kBoth);
  std::string digits;
  for (const char c : text) {
    if (c != '_') digits += c;
  }
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  static constexpr std::pair<int, char> kPrefixes[] = {{16, 'x'}, {8, 'o'}, {2, 'b'}};
  for (const auto& [prefix_base, letter] : kPrefixes) {
    if (digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == letter && base == prefix_base)
      digits.erase(0, 2);
  }
  if (digits.empty() || digits[0] == '-') return false;
  if (negative) digits.insert(0, "-");
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), integer, base);
  return error == std::errc() && end == digits.data() + digits.size();
}

Value to_integer(Call& call) {
  if (call.self.is_undefined()) refuse_undefined(call.self);
  Value fallback = call.has(0) ? call[0] : Value(std::int64_t{0});
  const std::int64_t base = call.integer(1, 10);
  if (base < 2 || base > 36) call.refuse("needs a base from 2 to 36");
  if (call.self.is_integral()) return call.self.integer();
  std::int64_t integer = 0;
  if (call.self.is_string() && read_integer(call.self.text(), static_cast<int>(base), integer)) return integer;
  double real = 0;
  if (call.self.is(Kind::kFloat)) {
    real = call.self.real();
  } else if (!call.self.is_string() || !read_real(call.self.text(), real)) {
    return fallback;
  }
  return std::fabs(real) < 9.2e18 ? Value(static_cast<std::int64_t>(real)) : fallback;
}

Value to_float(Call& call) {
  if (call.self.is_undefined()) refuse_undefined(call.self);
  if (call.self.is_number()) return call.self.real();
  double real = 0;
  if (call.self.is_string() && read_real(call.self.text(), real)) return real;
  return call.has(0) ? call[0] : Value(0.0);
}

Value absolute(Call& call) {
  if (call.self.is(Kind::kFloat)) return std::fabs(call.self.real());
  if (call.self.is_undefined()) refuse_undefined(call.self);
  if (!call.self.is_integral()) call.refuse("needs a number");
  return call.self.integer() < 0 ? negate(call.self) : Value(call.self.integer());
}

Value round_number(Call& call) {
  if (call.self.is_undefined()) refuse_undefined(call.self);
  if (!call.self.is_number()) call.refuse("needs a number");
  const std::int64_t precision = call.integer(0, 0);
  if (precision < -300 || precision > 300) call.refuse("needs a precision from -300 to 300");
  const std::string method = call.has(1) ? call.text(1) : "common";
  const double power = std::pow(10.0, static_cast<double>(precision)), real = call.self.real();
  if (method == "ceil") return std::ceil(real * power) / power;
  if (method == "floor") return std::floor(real * power) / power;
  if (method != "common") call.refuse("needs one of 'common', 'ceil' and 'floor' for 'method'");
  if (call.self.is_integral() && precision >= 0) return call.self.integer();
  if (!std::isfinite(real)) return real;
  if (precision < 0) {
    const double rounded = std::nearbyint(real * power) / power;
    return call.self.is_integral() && std::fabs(rounded) < 9e18 ? Value(static_cast<std::int64_t>(rounded))
                                                                : Value(rounded);
  }
  // Printing rounds the exact binary value correctly, which scaling by a power of ten would not.
  char buffer[700];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, real, std::chars_format::fixed, static_cast<int>(precision)).ptr;
  double rounded = 0;
  std::from_chars(buffer, end, rounded);
  return rounded;
}

Value center(Call& call) {
  const std::string text = call.self_text();
  return call.heap.text(centered(text, call.integer(0, 80), " ", call.heap));
}

// The flavour of Hugging Face's transformers: json.dumps() with nothing escaped for HTML and non-ASCII kept.
Value tojson(Call& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(0, false);
  style.sort_keys = call.flag(3, false);
  if (call.has_value(1)) {
    style.indent = static_cast<int>(std::clamp<std::int64_t>(call.integer(1, 0), 0, 1000));
    style.item_separator = ",";
  }
  if (call.has_value(2)) {
    const Value& pair = call[2];
    const bool two = pair.is(Kind::kList) && pair.list()->items.size() == 2 && pair.list()->items[0].is_string() &&
                     pair.list()->items[1].is_string();
    if (!two) call.refuse("needs two strings for 'separators'");
    style.item_separator = pair.list()->items[0].text();
    style.key_separator = pair.list()->items[1].text();
  }
  return call.heap.text(to_json(call.self, style, call.heap));
}

constexpr Builtin kScalarFilters[] = {
    {"tojson", tojson, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", trim, 0, {"chars"}},
    {"default", default_value, 0, {"default_value", "boolean"}},
    {"d", default_value, 0, {"default_value", "boolean"}},
    {"string", string},
    {"upper", upper},
    {"lower", lower},
    {"capitalize", capitalize},
    {"title", title},
    {"replace", replace_text, 2, {"old", "new", "count"}},
    {"indent", indent, 0, {"width", "first", "blank"}},
    {"int", to_integer, 0, {"default", "base"}},
    {"float", to_float, 0, {"default"}},
    {"abs", absolute},
    {"round", round_number, 0, {"precision", "method"}},
    {"format", format, Builtin::kVariadic},
    {"truncate", truncate, 0, {"length", "killwords", "end", "leeway"}},
    {"center", center, 0, {"width"}},
    {"wordcount", wordcount},
    {"urlencode", urlencode},
    {"escape", escape},
    {"e", escape},
    {"forceescape", escape},
    {"safe", string},
};

}  // namespace

std::span<const Builtin> scalar_filters() { return kScalarFilters; }

}  // namespace nacelle::jinja
