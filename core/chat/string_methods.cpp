// The methods of strings.
#include <algorithm>

#include "core/chat/builtins.hpp"
#include "core/chat/format.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

constexpr std::size_t kNone = std::string_view::npos;

template <Case how>
Value with_case(Call& call) {
  return call.heap.text(change_case(call.self.text(), how));
}

template <Side side>
Value stripped(Call& call) {
  return call.heap.text(std::string(strip(call.self.text(), side, call.has_value(0) ? &call.text(0) : nullptr)));
}

template <bool (*is_class)(char32_t)>
Value all_are(Call& call) {
  const std::string& text = call.self.text();
  for (std::size_t pos = 0; pos < text.size(); pos += code_point_size(text, pos)) {
    if (!is_class(code_point_at(text, pos))) return false;
  }
  return !text.empty();
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_digit(c); }
bool is_ascii_character(char32_t c) { return c < 0x80; }

Value is_upper_case(Call& call) { return has_case(call.self.text(), true); }
Value is_lower_case(Call& call) { return has_case(call.self.text(), false); }

std::size_t rfind_in(std::string_view text, std::string_view needle) {
  std::size_t best = kNone;
  for (std::size_t at = find(text, needle); at != kNone; at = find(text, needle, at + 1)) best = at;
  return best;
}

// The part of the string between the code points that parameters `i` and `i + 1` bound; `skipped` are the bytes before.
std::string_view window(const Call& call, std::size_t i, std::size_t* skipped = nullptr) {
  std::string_view text = call.self.text();
  if (!call.has_value(i) && !call.has_value(i + 1)) return text;
  const auto size = static_cast<std::int64_t>(code_point_count(text));
  const auto bound = [&](std::size_t at, std::int64_t missing) {
    const std::int64_t index = call.integer(at, missing);
    return std::clamp<std::int64_t>(index < 0 ? index + size : index, 0, size);
  };
  const std::size_t begin = byte_offset(text, static_cast<std::size_t>(bound(i, 0)));
  const std::size_t end = byte_offset(text, static_cast<std::size_t>(bound(i + 1, size)));
  if (skipped) *skipped = begin;
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

std::int64_t position(Call& call, bool from_right) {
  std::size_t skipped = 0;
  const std::string_view text = window(call, 1, &skipped);
  call.heap.spend_bytes(text.size());
  const std::size_t at = from_right ? rfind_in(text, call.text(0)) : find(text, call.text(0));
  if (at == kNone) return -1;
  return static_cast<std::int64_t>(code_point_count(std::string_view(call.self.text()).substr(0, skipped + at)));
}

Value find_text(Call& call) { return position(call, false); }
Value rfind_text(Call& call) { return position(call, true); }
Value index(Call& call) {
  const std::int64_t at = position(call, false);
  if (at < 0) call.refuse("did not find its text");
  return at;
}

Value count(Call& call) {
  const std::string_view text = window(call, 1);
  const std::string& needle = call.text(0);
  if (needle.empty()) return static_cast<std::int64_t>(code_point_count(text)) + 1;
  std::int64_t hits = 0;
  for (std::size_t at = find(text, needle); at != kNone; at = find(text, needle, at + needle.size())) ++hits;
  call.heap.spend_bytes(text.size());
  return hits;
}

// The argument is a string, or a tuple of which one must match.
bool any_affix(const Call& call, std::string_view text, bool front) {
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) call.refuse("needs a string or a tuple of strings");
    return front ? text.starts_with(affix.text()) : text.ends_with(affix.text());
  };
  if (call[0].is_undefined()) refuse_undefined(call[0]);
  if (!call[0].is(Kind::kList)) return matches(call[0]);
  const auto& items = call[0].list()->items;
  return std::any_of(items.begin(), items.end(), matches);
}

Value startswith(Call& call) { return any_affix(call, window(call, 1), true); }
Value endswith(Call& call) { return any_affix(call, window(call, 1), false); }

Value removeprefix(Call& call) {
  return call.self.text().starts_with(call.text(0)) ? call.heap.text(call.self.text().substr(call.text(0).size()))
                                                    : call.self;
}
Value removesuffix(Call& call) {
  const std::string &text = call.self.text(), &suffix = call.text(0);
  return text.ends_with(suffix) ? call.heap.text(text.substr(0, text.size() - suffix.size())) : call.self;
}

Value replace_text(Call& call) {
  return call.heap.text(
      replace(call.self.text(), call.text(0), call.text(1), call.integer(2, -1), call.heap.max_bytes()));
}

Value texts(const std::vector<std::string_view>& pieces, Heap& heap) {
  std::vector<Value> out;
  heap.check_room(pieces.size(), sizeof(Value) + sizeof(Text));
  out.reserve(pieces.size());
  for (std::string_view piece : pieces) out.push_back(heap.text(std::string(piece)));
  heap.spend(pieces.size() / 4);
  return heap.list(std::move(out));
}

// Pieces between runs of white space, at most `limit` cuts (below 0: all).
std::vector<std::string_view> split_space(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> pieces;
  for (text = strip(text, Side::kLeft); !text.empty(); text = strip(text, Side::kLeft)) {
    if (limit >= 0 && static_cast<std::int64_t>(pieces.size()) == limit) {
      pieces.push_back(text);
      return pieces;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_space(code_point_at(text, end))) end += code_point_size(text, end);
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

// As split_space, but the cuts are counted from the right.
std::vector<std::string_view> rsplit_space(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> pieces = split_space(text, -1);
  if (limit < 0 || static_cast<std::int64_t>(pieces.size()) <= limit) return pieces;
  const std::size_t kept = pieces.size() - static_cast<std::size_t>(limit);
  const char* const head_end = pieces[kept - 1].data() + pieces[kept - 1].size();
  const std::string_view head = text.substr(0, static_cast<std::size_t>(head_end - text.data()));
  pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(kept));
  pieces.insert(pieces.begin(), head);
  return pieces;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, std::int64_t limit,
                                       bool from_right) {
  std::vector<std::size_t> cuts;
  for (std::size_t at = find(text, separator); at != kNone; at = find(text, separator, at + separator.size())) {
    if (!from_right && limit >= 0 && static_cast<std::int64_t>(cuts.size()) >= limit) break;
    cuts.push_back(at);
  }
  if (from_right && limit >= 0 && static_cast<std::int64_t>(cuts.size()) > limit) {
    cuts.erase(cuts.begin(), cuts.end() - static_cast<std::ptrdiff_t>(limit));
  }
  std::vector<std::string_view> pieces;
  std::size_t start = 0;
  for (const std::size_t cut : cuts) {
    pieces.push_back(text.substr(start, cut - start));
    start = cut + separator.size();
  }
  pieces.push_back(text.substr(start));
  return pieces;
}

Value split_text(Call& call, bool from_right) {
  const std::string& text = call.self.text();
  const std::int64_t limit = call.integer(1, -1);
  call.heap.spend_bytes(text.size());
  if (!call.has_value(0)) return texts(from_right ? rsplit_space(text, limit) : split_space(text, limit), call.heap);
  if (call.text(0).empty()) call.refuse("needs a separator that is not empty");
  return texts(split_at(text, call.text(0), limit, from_right), call.heap);
}

Value split(Call& call) { return split_text(call, false); }
Value rsplit(Call& call) { return split_text(call, true); }
Value splitlines(Call& call) { return texts(split_lines(call.self.text(), call.flag(0, false)), call.heap); }

Value partition_at(Call& call, bool from_right) {
  const std::string &text = call.self.text(), &separator = call.text(0);
  if (separator.empty()) call.refuse("needs a separator that is not empty");
  const std::size_t at = from_right ? rfind_in(text, separator) : find(text, separator);
  const auto whole = [&](std::string head, std::string middle, std::string tail) {
    return call.heap.tuple(
        {call.heap.text(std::move(head)), call.heap.text(std::move(middle)), call.heap.text(std::move(tail))});
  };
  if (at == kNone) return from_right ? whole("", "", text) : whole(text, "", "");
  return whole(text.substr(0, at), separator, text.substr(at + separator.size()));
}

Value partition(Call& call) { return partition_at(call, false); }
Value rpartition(Call& call) { return partition_at(call, true); }

Value join(Call& call) {
  std::string out;
  bool begun = false;
  for (const Value& piece : elements(call[0], call.heap)) {
    if (!piece.is_string()) call.refuse("needs strings, not '" + std::string(type_name(piece)) + "'");
    call.heap.check_room(out.size() + piece.text().size() + call.self.text().size());
    if (begun) out += call.self.text();
    out += piece.text();
    begun = true;
    call.heap.spend(1);
  }
  return call.heap.text(std::move(out));
}

Value format(Call& call) { return call.heap.text(format_braces(call.self.text(), call.arguments, call.heap)); }

std::string fill_argument(const Call& call) { return call.has(1) ? call.text(1) : " "; }
Value center(Call& call) {
  return call.heap.text(centered(call.self.text(), call.integer(0, 0), fill_argument(call), call.heap));
}
Value ljust(Call& call) {
  return call.heap.text(justified(call.self.text(), call.integer(0, 0), fill_argument(call), true, call.heap));
}
Value rjust(Call& call) {
  return call.heap.text(justified(call.self.text(), call.integer(0, 0), fill_argument(call), false, call.heap));
}
Value zfill(Call& call) {
  const std::string& text = call.self.text();
  const bool sign = text.starts_with('-') || text.starts_with('+');
  const std::string digits =
      justified(text.substr(sign ? 1 : 0), call.integer(0, 0) - (sign ? 1 : 0), "0", false, call.heap);
  return call.heap.text((sign ? text.substr(0, 1) : "") + digits);
}

constexpr Builtin kMethods[] = {
    {"strip", stripped<Side::kBoth>, 0, {"chars"}},
    {"lstrip", stripped<Side::kLeft>, 0, {"chars"}},
    {"rstrip", stripped<Side::kRight>, 0, {"chars"}},
    {"split", split, 0, {"sep", "maxsplit"}},
    {"rsplit", rsplit, 0, {"sep", "maxsplit"}},
    {"splitlines", splitlines, 0, {"keepends"}},
    {"startswith", startswith, 1, {"prefix", "start", "end"}},
    {"endswith", endswith, 1, {"suffix", "start", "end"}},
    {"upper", with_case<Case::kUpper>},
    {"lower", with_case<Case::kLower>},
    {"casefold", with_case<Case::kLower>},
    {"title", with_case<Case::kTitle>},
    {"capitalize", with_case<Case::kCapitalize>},
    {"replace", replace_text, 2, {"old", "new", "count"}},
    {"find", find_text, 1, {"sub", "start", "end"}},
    {"rfind", rfind_text, 1, {"sub", "start", "end"}},
    {"index", index, 1, {"sub", "start", "end"}},
    {"count", count, 1, {"sub", "start", "end"}},
    {"join", join, 1, {"iterable"}},
    {"format", format, Builtin::kVariadic},
    {"removeprefix", removeprefix, 1, {"prefix"}},
    {"removesuffix", removesuffix, 1, {"suffix"}},
    {"partition", partition, 1, {"sep"}},
    {"rpartition", rpartition, 1, {"sep"}},
    {"isdigit", all_are<is_digit>},
    {"isdecimal", all_are<is_digit>},
    {"isnumeric", all_are<is_digit>},
    {"isalpha", all_are<is_alpha>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isspace", all_are<is_space>},
    {"isascii", all_are<is_ascii_character>},
    {"isupper", is_upper_case},
    {"islower", is_lower_case},
    {"center", center, 1, {"width", "fillchar"}},
    {"ljust", ljust, 1, {"width", "fillchar"}},
    {"rjust", rjust, 1, {"width", "fillchar"}},
    {"zfill", zfill, 1, {"width"}},
};

}  // namespace

std::span<const Builtin> string_methods() { return kMethods; }

}  // namespace nacelle::jinja
