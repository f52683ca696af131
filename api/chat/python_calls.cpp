#include "api/chat/python_calls.hpp"

#include <string>
#include <utility>

#include "api/chat/json_calls.hpp"
#include "api/chat/python_literal.hpp"

namespace nacelle::chat {
namespace {

class PythonCallParser final : public CallParser {
  using Kind = AnswerEvent::Kind;

 public:
  PythonCallParser(const PythonStyle& style, const Json& tools)
      : style_(style), tools_(tools), state_(style.bare ? State::kStart : State::kText) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kStart: return start(text, last);
      case State::kText: return plain(text, last, out);
      case State::kOpened: return opened(text, last, out);
      case State::kName: return name(text, last, out);
      case State::kParameters: return parameters(text, last, out);
      case State::kBehind: return behind(text, last);
      case State::kClosed: return closed(text, last);
      case State::kObjects: objects_->push(text, out); return text.size();
    }
    return text.size();
  }

  void end(AnswerEvents& out) override {
    if (objects_) objects_->finish(out);
    show_lead(out);
  }

 private:
  enum class State {
    kStart,       // of an answer that may be a list
    kText,        // of the user
    kOpened,      // behind the opening mark
    kName,        // before a call
    kParameters,  // inside one
    kBehind,      // behind one, inside the list
    kClosed,      // behind the list
    kObjects      // the model writes JSON: another parser's from here on
  };

  std::size_t go(State state, std::size_t taken) {
    state_ = state;
    return taken;
  }
  std::size_t no_call(AnswerEvents& out) {
    show_lead(out);
    return go(State::kText, 0);
  }

  std::size_t start(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    if (space == text.size()) return last ? go(State::kText, 0) : kMore;
    if (text[space] != '[') return go(State::kText, 0);
    lead_ += text.substr(0, space + 1);
    unmarked_ = true;
    return go(State::kName, space + 1);
  }

  std::size_t plain(std::string_view text, bool last, AnswerEvents& out) {
    const Shown shown = show_until(style_.open, text, last, out);
    return shown.opened ? go(State::kOpened, shown.taken) : shown.taken;
  }

  // A list, of calls or of objects, or one object.
  std::size_t opened(std::string_view text, bool last, AnswerEvents& out) {
    if (!style_.list) return go(State::kName, 0);
    const std::size_t space = leading_space(text);
    const bool is_list = text.substr(space).starts_with('[');
    const std::size_t begin = space + is_list, first = begin + leading_space(text.substr(begin));
    if (first == text.size()) return last ? no_call(out) : kMore;
    if (text[first] != '{' || !style_.objects) {
      if (!is_list) return no_call(out);
      lead_ += text.substr(0, first);
      return go(State::kName, first);
    }
    objects_ = make_json_call_parser({.open = style_.open, .close = style_.close, .list = is_list}, tools_);
    objects_->push(std::exchange(lead_, {}), out);
    return go(State::kObjects, 0);
  }

  std::size_t name(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text), size = word_size(text.substr(space));
    const std::size_t end = space + size + leading_space(text.substr(space + size));
    if (end == text.size() && !last) return kMore;
    const bool is_call = size != 0 && end < text.size() && text[end] == '(';
    if (!is_call || (unmarked_ && !has_tool(tools_, text.substr(space, size)))) return no_call(out);
    lead_.clear();
    unmarked_ = false;
    called_ = first_ = true;
    out.push_back({Kind::kCall, std::string(text.substr(space, size))});
    add(out, Kind::kArguments, "{");
    return go(State::kParameters, end + 1);
  }

  std::size_t parameters(std::string_view text, bool last, AnswerEvents& out) {
    std::size_t at = leading_space(text);
    if (text.substr(at).starts_with(')')) return done(State::kBehind, at + 1, out);
    if (!first_ && text.substr(at).starts_with(',')) at += 1 + leading_space(text.substr(at + 1));
    if (text.substr(at).starts_with(')')) return done(State::kBehind, at + 1, out);  // a comma may be the last
    const std::string_view key = text.substr(at, word_size(text.substr(at)));
    at += key.size();
    at += leading_space(text.substr(at));
    if (at == text.size()) return last ? text.size() : kMore;
    if (key.empty() || text[at] != '=') return done(State::kText, 0, out);
    std::size_t taken = 0;
    std::string value;
    const LiteralEnd end = read_python_literal(text.substr(at + 1), taken, value);
    if (end == LiteralEnd::kCut && !last) return kMore;
    if (end == LiteralEnd::kBroken) return done(State::kText, 0, out);
    add(out, Kind::kArguments, (std::exchange(first_, false) ? "" : ", ") + fields::to_text(Json(key)) + ": " + value);
    return end == LiteralEnd::kCut ? text.size() : at + 1 + taken;
  }

  std::size_t done(State next, std::size_t taken, AnswerEvents& out) {
    add(out, Kind::kArguments, "}");
    return go(next, taken);
  }

  std::size_t behind(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    if (space == text.size()) return last ? text.size() : kMore;
    if (!style_.list) return behind_line(text, space, last);
    if (text[space] == ',') return go(State::kName, space + 1);
    return text[space] == ']' ? go(State::kClosed, space + 1) : go(State::kText, 0);
  }

  // Another call, or the mark behind them.
  std::size_t behind_line(std::string_view text, std::size_t space, bool last) {
    const std::string_view rest = text.substr(space);
    if (!last && rest.size() < style_.close.size() && style_.close.starts_with(rest)) return kMore;
    if (rest.starts_with(style_.close)) return go(State::kClosed, space);
    return word_size(rest) ? go(State::kName, space) : go(State::kText, 0);
  }

  std::size_t closed(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space), mark = style_.close;
    if (rest.starts_with(mark)) return go(State::kText, space + mark.size());
    if (!last && mark.starts_with(rest)) return kMore;
    return go(State::kText, 0);
  }

  static std::size_t word_size(std::string_view text) {
    std::size_t size = 0;
    while (size < text.size() && (is_letter(text[size]) || (text[size] >= '0' && text[size] <= '9'))) ++size;
    return size;
  }
  static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
  }

  const PythonStyle style_;
  const Json tools_;
  State state_;
  AnswerParserPtr objects_;
  bool first_ = true;      // no parameter was written yet
  bool unmarked_ = false;  // what follows is a call if it names a tool
};

}  // namespace

AnswerParserPtr make_python_call_parser(const PythonStyle& style, const Json& tools) {
  return std::make_unique<PythonCallParser>(style, tools);
}

}  // namespace nacelle::chat
