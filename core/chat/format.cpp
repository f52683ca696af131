// Formatting: one Field describes how to print a value for both "%5.1f" and "{:>5.1f}".
#include "core/chat/format.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/chat/operators.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

namespace {

constexpr std::int64_t kMaxWidth = 100'000;
constexpr std::int64_t kMaxPrecision = 100;

struct Field {
  char type = 0;          // s r d i f F e g x X o b c %, or 0 for str()
  char align = 0;         // < > ^ = or 0 for the type's own
  char sign = '-';        // '-', '+' or ' '
  bool grouped = false;   // thousands separated by commas
  bool prefixed = false;  // 0x and its like
  std::string fill = " ";
  std::int64_t width = 0;
  std::int64_t precision = -1;
};

// Reads digits at `pos`; -1 where there are none.
std::int64_t read_number(std::string_view text, std::size_t& pos, std::int64_t limit) {
  std::int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data() + pos, text.data() + text.size(), number);
  if (error == std::errc::invalid_argument || (end > text.data() + pos && text[pos] == '-')) return -1;
  if (error != std::errc() || number > limit) throw TemplateError("a format's width or precision is too large");
  pos = static_cast<std::size_t>(end - text.data());
  return number;
}

std::string pad(const std::string& body, const Field& field, char own_align) {
  const auto size = static_cast<std::int64_t>(code_point_count(body));
  if (size >= field.width) return body;
  const std::int64_t missing = field.width - size;
  const char align = field.align ? field.align : own_align;
  const std::int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::size_t head = 0;  // '=' pads between the sign and the digits
  if (align == '=' && !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ')) head = 1;
  std::string out = body.substr(0, head);
  for (std::int64_t i = 0; i < left; ++i) out += field.fill;
  out += body.substr(head);
  for (std::int64_t i = left; i < missing; ++i) out += field.fill;
  return out;
}

std::string group_thousands(std::string digits) {
  const std::size_t point = std::min(digits.find_first_not_of("0123456789"), digits.size());
  for (std::size_t at = point; at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string integer_digits(std::uint64_t magnitude, const Field& field) {
  const int base = field.type == 'x' || field.type == 'X' ? 16 : field.type == 'o' ? 8 : field.type == 'b' ? 2 : 10;
  std::array<char, 72> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base).ptr;
  std::string digits(buffer.data(), end);
  if (field.type == 'X') std::transform(digits.begin(), digits.end(), digits.begin(), ::toupper);
  if (field.prefixed && base != 10)
    digits = std::string("0") + (base == 16 ? field.type : base == 8 ? 'o' : 'b') + digits;
  return digits;
}

std::string real_digits(double magnitude, const Field& field) {
  if (std::isnan(magnitude)) return "nan";
  if (std::isinf(magnitude)) return "inf";
  if (field.type == 0 && field.precision < 0) return float_text(magnitude);
  const char type = field.type == 0 ? 'g' : field.type;
  const auto style = type == 'e'   ? std::chars_format::scientific
                     : type == 'g' ? std::chars_format::general
                                   : std::chars_format::fixed;
  std::array<char, 512> buffer;  // 309 digits, the point and kMaxPrecision more
  const double scaled = type == '%' ? magnitude * 100 : magnitude;
  const int precision = field.precision < 0 ? 6 : static_cast<int>(field.precision);
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), scaled, style, precision).ptr;
  return std::string(buffer.data(), end) + (type == '%' ? "%" : "");
}

std::string number_text(const Value& value, const Field& field) {
  const bool whole = value.is_integral() && std::string_view("feEgF%").find(field.type) == std::string_view::npos;
  const bool negative = whole ? value.integer() < 0 : std::signbit(value.real());
  std::string digits;
  if (whole) {
    const auto bits = static_cast<std::uint64_t>(value.integer());
    digits = integer_digits(negative ? 0 - bits : bits, field);
  } else {
    digits = real_digits(std::fabs(value.real()), field);
  }
  if (field.grouped) digits = group_thousands(std::move(digits));
  return (negative ? "-" : field.sign == '-' ? "" : std::string(1, field.sign)) + digits;
}

bool is_integer_type(char type) { return type != 0 && std::string_view("dixXob").find(type) != std::string_view::npos; }
bool is_real_type(char type) { return type != 0 && std::string_view("fFeg%").find(type) != std::string_view::npos; }

std::string format_field(const Value& value, const Field& field, Heap& heap, char text_align) {
  if (is_integer_type(field.type) && value.is(Value::Kind::kFloat)) {
    throw TemplateError(std::string("format '") + field.type + "' needs an integer, not a float");
  }
  const bool numeric = is_integer_type(field.type) || is_real_type(field.type);
  if (numeric && !value.is_number()) {
    throw TemplateError(std::string("format '") + field.type + "' needs a number, not '" +
                        std::string(type_name(value)) + "'");
  }
  const bool plain_number = field.type == 0 && value.is_number() && !value.is(Value::Kind::kBool);
  if (numeric || plain_number) return pad(number_text(value, field), field, '>');
  std::string body = field.type == 'r' ? repr(value, heap) : to_text(value, heap);
  if (field.precision >= 0) body.resize(byte_offset(body, static_cast<std::size_t>(field.precision)));
  return pad(body, field, text_align);
}

// Hands out the arguments of "%..." one by one.
class PercentArguments {
 public:
  explicit PercentArguments(const Value& values) : values_(values) {}

  Value next() {
    if (is_tuple()) {
      if (used_ >= values_.list()->items.size()) throw TemplateError("not enough arguments for the format string");
      return values_.list()->items[used_++];
    }
    if (used_++ > 0) throw TemplateError("not enough arguments for the format string");
    return values_;
  }

  Value named(std::string_view name) {
    if (!values_.is(Value::Kind::kDict)) throw TemplateError("'%(name)s' needs a dict of arguments");
    const Value* found = values_.dict()->find(name);
    if (!found) throw TemplateError("the format string's '" + std::string(name) + "' is not among its arguments");
    by_name_ = true;
    return *found;
  }

  void finish() const {
    const bool rest = is_tuple() ? used_ < values_.list()->items.size() : used_ == 0 && !by_name_;
    if (rest && !values_.is(Value::Kind::kDict)) throw TemplateError("not all arguments of the format string are used");
  }

 private:
  bool is_tuple() const { return values_.is(Value::Kind::kList) && values_.list()->flavour != List::Flavour::kList; }
  const Value& values_;
  std::size_t used_ = 0;
  bool by_name_ = false;
};

// Parses "[flags][width][.precision]type" behind a '%'.
Field percent_field(std::string_view format, std::size_t& pos) {
  Field field;
  for (; pos < format.size() && std::string_view("-+ 0#").find(format[pos]) != std::string_view::npos; ++pos) {
    switch (format[pos]) {
      case '-': field.align = '<'; break;
      case '0':
        if (field.align == 0) field.align = '=', field.fill = "0";
        break;
      case '#': field.prefixed = true; break;
      default: field.sign = format[pos];
    }
  }
  if (field.align == '<') field.fill = " ";
  field.width = std::max<std::int64_t>(read_number(format, pos, kMaxWidth), 0);
  if (pos < format.size() && format[pos] == '.') {
    field.precision = std::max<std::int64_t>(read_number(format, ++pos, kMaxPrecision), 0);
  }
  if (pos >= format.size()) throw TemplateError("incomplete format: '%' at the end");
  field.type = format[pos++];
  if (std::string_view("srdifFegxXoc%").find(field.type) == std::string_view::npos) {
    throw TemplateError(std::string("unsupported format character '") + field.type +
                        "'; expected one of s r d f e g x");
  }
  return field;
}

}  // namespace

std::string format_percent(std::string_view format, const Value& values, Heap& heap) {
  PercentArguments arguments(values);
  std::string out;
  for (std::size_t pos = 0; pos < format.size();) {
    if (format[pos] != '%') {
      const std::size_t next = std::min(format.find('%', pos), format.size());
      out += format.substr(pos, next - pos);
      pos = next;
      continue;
    }
    ++pos;
    std::string_view name;
    if (pos < format.size() && format[pos] == '(') {
      const std::size_t close = format.find(')', pos);
      if (close == std::string_view::npos) throw TemplateError("incomplete format: ')' is missing");
      name = format.substr(pos + 1, close - pos - 1);
      pos = close + 1;
    }
    Field field = percent_field(format, pos);
    if (field.type == '%') {
      out += '%';
      continue;
    }
    const Value value = name.data() ? arguments.named(name) : arguments.next();
    if (field.type == 'c') field.type = 's';
    if (is_integer_type(field.type) && value.is(Value::Kind::kFloat)) {  // unlike {:d}, %d cuts a float
      if (!(std::fabs(value.real()) < 9e18)) throw TemplateError("'%d' needs a number that fits 64 bits");
      out += format_field(Value(static_cast<std::int64_t>(value.real())), field, heap, '>');
    } else {
      if (field.type == 's' || field.type == 'r') {
        if (field.align == '=') field.align = '>', field.fill = " ";
      }
      out += format_field(value, field, heap, '>');
    }
    heap.spend(1);
    heap.check_room(out.size());
  }
  arguments.finish();
  return out;
}

namespace {

// Parses "[[fill]align][sign][#][0][width][,][.precision][type]".
Field brace_field(std::string_view spec) {
  Field field;
  std::size_t pos = 0;
  const auto is_align = [&](std::size_t at) {
    return at < spec.size() && std::string_view("<>^=").find(spec[at]) != std::string_view::npos;
  };
  const auto take = [&](char c) { return pos < spec.size() && spec[pos] == c ? (++pos, true) : false; };
  const std::size_t fill = spec.empty() ? 0 : code_point_size(spec, 0);
  if (fill > 0 && is_align(fill)) {
    field.fill = spec.substr(0, fill);
    field.align = spec[fill];
    pos = fill + 1;
  } else if (is_align(0)) {
    field.align = spec[pos++];
  }
  if (take('+'))
    field.sign = '+';
  else if (take(' '))
    field.sign = ' ';
  else
    take('-');
  field.prefixed = take('#');
  if (take('0') && field.align == 0) field.align = '=', field.fill = "0";
  field.width = std::max<std::int64_t>(read_number(spec, pos, kMaxWidth), 0);
  field.grouped = take(',');
  if (take('.')) {
    field.precision = read_number(spec, pos, kMaxPrecision);
    if (field.precision < 0) throw TemplateError("a format's '.' needs a precision behind it");
  }
  if (pos < spec.size()) field.type = spec[pos++];
  if (pos != spec.size() || std::string_view("sdfFegxXob%\0", 12).find(field.type) == std::string_view::npos) {
    throw TemplateError("invalid format '" + std::string(spec) + "'; expected such as '>8', '.2f' or 'd'");
  }
  if (field.type == 's') field.type = 0;
  return field;
}

// The argument that "0", "name" or "" (the next one) stands for, with any ".key" or "[key]" behind it.
Value brace_argument(std::string_view name, const Arguments& arguments, std::size_t& next, Heap& heap) {
  const std::size_t end = std::min(name.find_first_of(".["), name.size());
  const std::string_view head = name.substr(0, end);
  std::size_t index = next;
  Value value;
  const bool numbered =
      !head.empty() && std::from_chars(head.data(), head.data() + head.size(), index).ec == std::errc();
  if (head.empty()) ++next;
  if (head.empty() || numbered) {
    if (index < arguments.positional.size()) value = arguments.positional[index];
  } else {
    for (const auto& [key, named] : arguments.named) {
      if (key->bytes == head) value = named;
    }
  }
  std::string_view rest = name.substr(end);
  while (!rest.empty() && !value.is_missing()) {
    const bool bracket = rest[0] == '[';
    const std::size_t stop = std::min(bracket ? rest.find(']') : rest.find_first_of(".[", 1), rest.size());
    const std::string_view key = rest.substr(1, stop - 1);
    std::int64_t at = 0;
    const bool whole = std::from_chars(key.data(), key.data() + key.size(), at).ptr == key.data() + key.size();
    value = item(value, whole && !key.empty() ? Value(at) : heap.text(std::string(key)), heap);
    rest.remove_prefix(std::min(rest.size(), stop + (bracket ? 1 : 0)));
  }
  if (value.is_missing()) throw TemplateError("format(): no argument for '{" + std::string(name) + "}'");
  return value;
}

}  // namespace

std::string format_braces(std::string_view format, const Arguments& arguments, Heap& heap) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t pos = 0; pos < format.size();) {
    const char c = format[pos];
    if (c != '{' && c != '}') {
      const std::size_t stop = std::min(format.find_first_of("{}", pos), format.size());
      out += format.substr(pos, stop - pos);
      pos = stop;
      continue;
    }
    if (pos + 1 < format.size() && format[pos + 1] == c) {
      out += c;
      pos += 2;
      continue;
    }
    const std::size_t close = format.find('}', pos);
    if (c == '}' || close == std::string_view::npos) throw TemplateError("format(): '{' and '}' do not pair up");
    const std::string_view inside = format.substr(pos + 1, close - pos - 1);
    const std::size_t colon = std::min(inside.find(':'), inside.size());
    std::string_view name = inside.substr(0, colon);
    const bool quoted = name.ends_with("!r");
    if (quoted || name.ends_with("!s")) name.remove_suffix(2);
    Value value = brace_argument(name, arguments, next, heap);
    if (quoted) value = heap.text(repr(value, heap));
    out += format_field(value, brace_field(colon < inside.size() ? inside.substr(colon + 1) : ""), heap, '<');
    pos = close + 1;
    heap.spend(1);
    heap.check_room(out.size());
  }
  return out;
}

namespace {

std::string padded(std::string_view text, std::int64_t left, std::int64_t right, std::string_view fill, Heap& heap) {
  if (code_point_count(fill) != 1) throw TemplateError("padding needs a fill of exactly one character");
  heap.check_room(static_cast<std::size_t>(left) + static_cast<std::size_t>(right), 4);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (std::int64_t i = 0; i < right; ++i) out += fill;
  return out;
}

std::int64_t missing_width(std::string_view text, std::int64_t width) {
  if (width > kMaxWidth) throw TemplateError("padding is limited to a width of " + std::to_string(kMaxWidth));
  return std::max<std::int64_t>(width - static_cast<std::int64_t>(code_point_count(text)), 0);
}

}  // namespace

std::string centered(std::string_view text, std::int64_t width, std::string_view fill, Heap& heap) {
  const std::int64_t missing = missing_width(text, width);
  const std::int64_t left = missing / 2 + (missing & width & 1);  // CPython's choice of the longer side
  return padded(text, left, missing - left, fill, heap);
}

std::string justified(std::string_view text, std::int64_t width, std::string_view fill, bool left, Heap& heap) {
  const std::int64_t missing = missing_width(text, width);
  return padded(text, left ? 0 : missing, left ? missing : 0, fill, heap);
}

std::string format_time(const std::string& format, const std::tm& time) {
  static constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  static constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                            "July",    "August",   "September", "October", "November", "December"};
  const std::string day = kDays[static_cast<unsigned>(time.tm_wday) % 7];
  const std::string month = kMonths[static_cast<unsigned>(time.tm_mon) % 12];
  const auto c_library = [&](const std::string& directive) {
    char buffer[64];
    return std::string(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &time));
  };
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    std::string directive = {'%', format[++i]};
    if (directive[1] == '-' && i + 1 < format.size()) directive += format[++i];  // glibc's "no leading zero"
    switch (directive.back()) {
      case 'A': out += day; break;
      case 'a': out += day.substr(0, 3); break;
      case 'B': out += month; break;
      case 'b':
      case 'h': out += month.substr(0, 3); break;
      case 'p': out += time.tm_hour < 12 ? "AM" : "PM"; break;
      case 'f': out += "000000"; break;
      case '%': out += '%'; break;
      default:
        if (std::string_view("YmdHMSyjUWuwIeDFTRZzGVCklns").find(directive.back()) == std::string_view::npos) {
          throw TemplateError("strftime: unsupported directive '" + directive + "'");
        }
        out += c_library(directive);
    }
  }
  return out;
}

}  // namespace nacelle::jinja
