#include "api/chat/json_calls.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/error.hpp"

namespace nacelle::chat {
namespace {

using Kind = AnswerEvent::Kind;

enum class Match {
  kNo,
  kMore,  // more text could change it
  kYes,
  kWhole,  // perhaps a call, but not in the usual order: wait for the whole object
};

// Reads tokens of JSON. Once something failed, more() tells whether it was for want of text.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  void space() { at_ += leading_space(text_.substr(at_)); }
  bool peek(std::string_view literal) {
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with(literal)) return true;
    more_ = more_ || literal.starts_with(rest);
    return false;
  }
  bool take(std::string_view literal) {
    if (!peek(literal)) return false;
    at_ += literal.size();
    return true;
  }
  // A JSON string, its quotes included.
  std::optional<std::string_view> string() {
    if (!peek("\"")) return std::nullopt;
    for (std::size_t end = at_ + 1; end < text_.size(); ++end) {
      if (text_[end] == '\\') {
        ++end;
      } else if (text_[end] == '"') {
        const std::size_t begin = std::exchange(at_, end + 1);
        return text_.substr(begin, at_ - begin);
      }
    }
    more_ = true;
    return std::nullopt;
  }
  // Characters of names of functions and of ids.
  std::string_view word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    more_ = more_ || at_ == text_.size();
    return text_.substr(begin, at_ - begin);
  }

  std::size_t at() const { return at_; }
  Match failed() const { return more_ ? Match::kMore : Match::kNo; }

 private:
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  }
  std::string_view text_;
  std::size_t at_ = 0;
  bool more_ = false;
};

std::optional<Json> parse_object(std::string_view text) {
  try {
    Json json = fields::parse_json(text);
    if (json.is_object()) return json;
  } catch (const Error&) {  // a model wrote it: it need not be JSON
  }
  return std::nullopt;
}

std::string unquoted(std::string_view string) {
  const Json json = Json::parse(string.begin(), string.end(), nullptr, false);
  return json.is_string() ? json.get<std::string>() : std::string(string.substr(1, string.size() - 2));
}

struct Head {
  std::string name, id;
  std::size_t length = 0;
};

bool is_name(std::string_view key) { return key == "\"name\"" || key == "\"tool_name\""; }
bool is_arguments(std::string_view key) { return key == "\"arguments\"" || key == "\"parameters\""; }

// {"name": "f", "arguments": up to the arguments' brace.
Match match_head(std::string_view text, Head& head) {
  Cursor cursor(text);
  cursor.space();
  if (!cursor.take("{")) return cursor.failed();
  for (;;) {
    cursor.space();
    const auto key = cursor.string();
    if (!key) return cursor.failed();
    cursor.space();
    if (!cursor.take(":")) return cursor.failed();
    cursor.space();
    if (is_arguments(*key)) {
      if (head.name.empty()) return Match::kWhole;
      if (!cursor.peek("{")) return cursor.failed() == Match::kMore ? Match::kMore : Match::kWhole;
      head.length = cursor.at();
      return Match::kYes;
    }
    if (*key == "\"function\"") return Match::kWhole;
    if (!is_name(*key) && *key != "\"id\"" && *key != "\"type\"" && *key != "\"tool_call_id\"") return Match::kNo;
    const auto value = cursor.string();
    if (!value) return cursor.failed();
    if (is_name(*key)) head.name = unquoted(*value);
    if (*key == "\"id\"") head.id = unquoted(*value);
    cursor.space();
    if (cursor.peek("}")) return Match::kWhole;
    if (!cursor.take(",")) return cursor.failed();
  }
}

// What may stand between the arguments and the end of the call: more members that are strings, and the brace.
Match match_tail(std::string_view text, std::size_t& length) {
  Cursor cursor(text);
  for (;;) {
    cursor.space();
    if (cursor.take("}")) {
      length = cursor.at();
      return Match::kYes;
    }
    if (!cursor.take(",")) return cursor.failed();
    cursor.space();
    if (!cursor.string()) return cursor.failed();
    cursor.space();
    if (!cursor.take(":")) return cursor.failed();
    cursor.space();
    if (!cursor.string()) return cursor.failed();
  }
}

// name[CALL_ID]id[ARGS] up to the arguments' brace; both marks may be absent.
Match match_named(std::string_view text, Head& head) {
  Cursor cursor(text);
  cursor.space();
  head.name = cursor.word();
  if (head.name.empty()) return cursor.failed();
  if (cursor.take("[CALL_ID]")) head.id = cursor.word();
  cursor.take("[ARGS]");
  cursor.space();
  if (!cursor.peek("{")) return cursor.failed();
  head.length = cursor.at();
  return Match::kYes;
}

class JsonCallParser final : public CallParser {
 public:
  JsonCallParser(const JsonCallStyle& style, const Json& tools) : style_(style), tools_(tools), at_start_(style.bare) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kText: return plain(text, last, out);
      case State::kOpened: return opened(text, last, out);
      case State::kHead: return head(text, last, out, match_head);
      case State::kNamed: return head(text, last, out, match_named);
      case State::kWhole: return whole(text, last, out);
      case State::kArguments: return arguments(text, out);
      case State::kTail: return tail(text, last);
      case State::kAfter: return after(text, last);
    }
    return text.size();
  }

 private:
  enum class State {
    kText,       // of the user
    kOpened,     // after the opening tag, where a list may begin
    kHead,       // {"name": ...
    kNamed,      // name[ARGS]
    kWhole,      // an object that is looked at when it is complete
    kArguments,  // inside the arguments
    kTail,       // behind them, inside the call
    kAfter       // behind a call
  };

  std::size_t go(State state, std::size_t taken = 0) {
    state_ = state;
    return taken;
  }
  // Keeps `taken` bytes, to be shown should this be no call.
  std::size_t lead(std::string_view text, std::size_t taken, State next) {
    lead_ += text.substr(0, taken);
    return go(next, taken);
  }
  std::size_t no_call(std::string_view text, std::size_t taken, AnswerEvents& out) {
    show_lead(out);
    add(out, Kind::kContent, text.substr(0, taken));
    in_list_ = false;
    return go(State::kText, taken);
  }

  std::size_t plain(std::string_view text, bool last, AnswerEvents& out) {
    if (at_start_) {
      const std::size_t space = leading_space(text);
      if (space == text.size() && !last) return kMore;
      at_start_ = false;
      if (text.substr(space).starts_with('{')) {
        bare_ = true;
        return lead(text, space, State::kHead);
      }
    }
    const Shown shown = show_until(style_.open, text, last, out);
    if (!shown.opened) return shown.taken;
    bare_ = false;
    return go(style_.list ? State::kOpened : State::kHead, shown.taken);
  }

  std::size_t opened(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    if (space == text.size()) return last ? no_call(text, text.size(), out) : kMore;
    if (text[space] != '[') return lead(text, space, State::kNamed);
    in_list_ = true;
    return lead(text, space + 1, State::kHead);
  }

  std::size_t head(std::string_view text, bool last, AnswerEvents& out, Match (*match)(std::string_view, Head&)) {
    Head found;
    Match result = match(text, found);
    if (result == Match::kMore) return last ? no_call(text, text.size(), out) : kMore;
    if (result == Match::kYes && bare_ && !has_tool(tools_, found.name)) result = Match::kNo;
    if (result == Match::kNo && !bare_ && match == match_head && text[leading_space(text)] == '{') {
      result = Match::kWhole;
    }
    if (result == Match::kNo) return no_call(text, 0, out);
    if (result == Match::kWhole) {
      scanner_ = {};
      scanned_ = 0;
      return lead(text, leading_space(text), State::kWhole);
    }
    begin_call(std::move(found.name), std::move(found.id), out);
    named_ = match == match_named;
    return go(State::kArguments, found.length);
  }

  void begin_call(std::string name, std::string id, AnswerEvents& out) {
    lead_.clear();
    scanner_ = {};
    called_ = true;
    out.push_back({Kind::kCall, std::move(name), std::move(id)});
  }

  std::size_t whole(std::string_view text, bool last, AnswerEvents& out) {
    scanned_ += scanner_.push(text.substr(scanned_));
    if (!scanner_.done()) return last ? no_call(text, text.size(), out) : kMore;
    AnswerEvents call;
    if (!add_whole_call(text.substr(0, scanned_), call) || (bare_ && !has_tool(tools_, call.front().text))) {
      return no_call(text, scanned_, out);
    }
    lead_.clear();
    called_ = true;
    out.insert(out.end(), call.begin(), call.end());
    return go(State::kAfter, scanned_);
  }

  std::size_t arguments(std::string_view text, AnswerEvents& out) {
    const std::size_t taken = scanner_.push(text);
    add(out, Kind::kArguments, text.substr(0, taken));
    if (scanner_.done()) state_ = named_ ? State::kText : State::kTail;
    return taken;
  }

  std::size_t tail(std::string_view text, bool last) {
    std::size_t length = 0;
    switch (match_tail(text, length)) {
      case Match::kYes: return go(State::kAfter, length);
      case Match::kMore:
        if (!last) return kMore;
        if (leading_space(text) == text.size()) return text.size();
        [[fallthrough]];
      default: in_list_ = false; return go(State::kText);
    }
  }

  std::size_t after(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    if (rest.empty()) return last ? text.size() : kMore;
    if (in_list_) {
      if (rest[0] == ',') return lead(text, space + 1, State::kHead);
      in_list_ = false;
      if (rest[0] != ']') return go(State::kText);
      return go(style_.close.empty() ? State::kText : State::kAfter, space + 1);
    }
    if (!style_.close.empty()) {
      if (rest.starts_with(style_.close)) return go(State::kText, space + style_.close.size());
      if (!last && style_.close.starts_with(rest)) return kMore;
      return go(State::kText);
    }
    if (!style_.bare) return go(State::kText);
    const std::size_t mark = rest[0] == ';' || rest[0] == ',' ? 1 : 0;  // Llama 3 writes "; " between calls, or nothing
    const std::size_t next = space + mark + leading_space(rest.substr(mark));
    if (next == text.size() && !last) return kMore;
    if (next < text.size() && text[next] == '{') {
      bare_ = true;
      return lead(text, next, State::kHead);
    }
    return go(State::kText);
  }

  const JsonCallStyle style_;
  const Json tools_;
  State state_ = State::kText;
  ObjectScanner scanner_;
  std::size_t scanned_ = 0;  // of a whole object
  bool at_start_;            // a call may begin without a tag
  bool bare_ = false;        // this one did
  bool named_ = false;       // this one is name[ARGS]{...}
  bool in_list_ = false;
};

}  // namespace

std::size_t ObjectScanner::push(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (done_) return i;
    const char c = text[i];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      done_ = --depth_ == 0;
    }
  }
  return text.size();
}

bool has_tool(const Json& tools, std::string_view name) noexcept {
  return std::any_of(tools.begin(), tools.end(), [name](const Json& tool) {
    const auto function = tool.find("function");
    return function != tool.end() && function->value("name", "") == name;
  });
}

bool add_whole_call(std::string_view object, AnswerEvents& out) {
  const auto parsed = parse_object(object);
  if (!parsed) return false;
  const Json& call =
      parsed->contains("function") && (*parsed)["function"].is_object() ? (*parsed)["function"] : *parsed;
  const auto name = call.contains("tool_name") ? call.find("tool_name") : call.find("name");
  if (name == call.end() || !name->is_string()) return false;
  const auto given = call.contains("arguments") ? call.find("arguments") : call.find("parameters");
  std::string arguments = "{}";
  if (given != call.end() && given->is_string()) {
    arguments = given->get<std::string>();
    if (!parse_object(arguments)) return false;
  } else if (given != call.end() && given->is_object()) {
    arguments = fields::to_text(*given);
  } else if (given != call.end() && !given->is_null()) {
    return false;
  }
  const auto id = parsed->find("id");
  out.push_back(
      {Kind::kCall, name->get<std::string>(), id != parsed->end() && id->is_string() ? id->get<std::string>() : ""});
  add(out, Kind::kArguments, arguments);
  return true;
}

AnswerParserPtr make_json_call_parser(const JsonCallStyle& style, const Json& tools) {
  return std::make_unique<JsonCallParser>(style, tools);
}

}  // namespace nacelle::chat
