// str(), repr() and json.dumps() of values, byte for byte as Python writes them.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/chat/operators.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = shortest.find('e');
  int exponent = 0;
  const std::size_t sign = shortest[e + 1] == '+' ? 1 : 0;  // from_chars takes no plus
  std::from_chars(buffer + e + 1 + sign, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);  // Python's rule for repr
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

namespace {

void append_hex(std::string& out, char32_t c, int digits) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kHex[c >> shift & 0xF];
}

// The quotes, and the escape of each character, of Python's repr().
void append_quoted(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (std::size_t pos = 0, size; pos < text.size(); pos += size) {
    size = code_point_size(text, pos);
    const char32_t c = code_point_at(text, pos);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += {'\\', text[pos]};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += {'\\', c == '\n' ? 'n' : c == '\r' ? 'r' : 't'};
    } else if (is_printable(c)) {
      out += text.substr(pos, size);
    } else {
      out += c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
      append_hex(out, c, c < 0x100 ? 2 : c < 0x10000 ? 4 : 8);
    }
  }
  out += quote;
}

class Printer {
 public:
  Printer(std::string& out, Heap& heap) : out_(out), heap_(heap) {}

  void repr(const Value& value, int depth) {
    heap_.spend(1);
    heap_.check_depth(depth);
    switch (value.kind()) {
      case Kind::kString:
        append_quoted(out_, value.text());
        heap_.spend_bytes(value.text().size());
        break;
      case Kind::kUndefined: out_ += "Undefined"; break;
      case Kind::kList: list(*value.list(), depth); break;
      case Kind::kDict: dict(*value.dict(), depth); break;
      default: scalar(value);
    }
    heap_.check_room(out_.size());
  }

  void scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone: out_ += "None"; break;
      case Kind::kBool: out_ += value.boolean() ? "True" : "False"; break;
      case Kind::kInt: out_ += std::to_string(value.integer()); break;
      case Kind::kFloat: out_ += float_text(value.real()); break;
      default: out_.append("<").append(type_name(value)).append(">");
    }
  }

 private:
  void list(const List& list, int depth) {
    const bool tuple = list.flavour != List::Flavour::kList;
    out_ += tuple ? '(' : '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      repr(list.items[i], depth + 1);
    }
    if (tuple && list.items.size() == 1) out_ += ',';
    out_ += tuple ? ')' : ']';
  }

  void dict(const Dict& dict, int depth) {
    out_ += '{';
    for (const auto& entry : dict.entries) {
      if (out_.back() != '{' || &entry != dict.entries.data()) out_ += ", ";
      repr(entry.first, depth + 1);
      out_ += ": ";
      repr(entry.second, depth + 1);
    }
    out_ += '}';
  }

  std::string& out_;
  Heap& heap_;
};

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Heap& heap) : style_(style), heap_(heap) {}
  std::string out;

  void write(const Value& value, int depth) {
    heap_.spend(1);
    heap_.check_depth(depth);
    switch (value.kind()) {
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat: out += scalar(value); break;
      case Kind::kString: string(value.text()); break;
      case Kind::kList: list(*value.list(), depth); break;
      case Kind::kDict: dict(*value.dict(), depth); break;
      default: throw TemplateError("a value of type '" + std::string(type_name(value)) + "' has no JSON form");
    }
    heap_.check_room(out.size());
  }

 private:
  static std::string scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone: return "null";
      case Kind::kBool: return value.boolean() ? "true" : "false";
      case Kind::kInt: return std::to_string(value.integer());
      default: break;
    }
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() < 0 ? "-Infinity" : "Infinity";
    return float_text(value.real());
  }

  void escape(char32_t c) {
    if (c > 0xFFFF) {  // JSON spells it as a surrogate pair
      escape(0xD7C0 + (c >> 10));
      c = 0xDC00 + (c & 0x3FF);
    }
    out += "\\u";
    append_hex(out, c, 4);
  }

  void string(std::string_view text) {
    heap_.spend_bytes(text.size());
    heap_.check_room(text.size());
    out += '"';
    for (std::size_t pos = 0, size; pos < text.size(); pos += size) {
      size = code_point_size(text, pos);
      const char32_t c = code_point_at(text, pos);
      static constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
      const std::size_t known = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
      if (known != std::string_view::npos) {
        out += {'\\', kLetters[known]};
      } else if (c < 0x20 || (style_.ensure_ascii && c >= 0x7F && c != 0x7F)) {
        escape(c);
      } else {
        out += text.substr(pos, size);
      }
    }
    out += '"';
  }

  void break_line(int depth) {
    if (style_.indent < 0) return;
    const std::size_t spaces = static_cast<std::size_t>(style_.indent) * static_cast<std::size_t>(depth);
    heap_.check_room(out.size() + spaces);
    out.append(1, '\n').append(spaces, ' ');
  }

  void list(const List& list, int depth) {
    out += '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      break_line(depth + 1);
      write(list.items[i], depth + 1);
    }
    if (!list.items.empty()) break_line(depth);
    out += ']';
  }

  void dict(const Dict& dict, int depth) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](auto* a, auto* b) { return less(a->first, b->first, heap_); });
    }
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      break_line(depth + 1);
      const Value& key = entries[i]->first;
      if (!key.is_string() && !key.is_number() && !key.is_none()) {
        throw TemplateError("a value of type '" + std::string(type_name(key)) + "' cannot be a key in JSON");
      }
      string(key.is_string() ? key.text() : scalar(key));
      out += style_.key_separator;
      write(entries[i]->second, depth + 1);
    }
    if (!entries.empty()) break_line(depth);
    out += '}';
  }

  const JsonStyle& style_;
  Heap& heap_;
};

}  // namespace

void append_text(std::string& out, const Value& value, Heap& heap) {
  if (value.is_string()) {
    heap.spend_bytes(value.text().size());
    out += value.text();
  } else if (!value.is_undefined()) {
    Printer(out, heap).repr(value, 0);
  }
}

std::string to_text(const Value& value, Heap& heap) {
  std::string out;
  append_text(out, value, heap);
  return out;
}

std::string repr(const Value& value, Heap& heap) {
  std::string out;
  Printer(out, heap).repr(value, 0);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, Heap& heap) {
  JsonWriter writer(style, heap);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace nacelle::jinja
