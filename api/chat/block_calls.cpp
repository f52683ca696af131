#include "api/chat/block_calls.hpp"

#include <string>

#include "api/chat/json_calls.hpp"

namespace nacelle::chat {
namespace {

// Without white space around it.
std::string_view stripped(std::string_view text) { return trimmed(text.substr(leading_space(text))); }

// The name in "functions.NAME:0".
std::string_view name_in(std::string_view id) {
  constexpr std::string_view kPrefix = "functions.";
  if (id.starts_with(kPrefix)) id.remove_prefix(kPrefix.size());
  const std::size_t colon = id.rfind(':');
  const bool numbered =
      colon != std::string_view::npos && id.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
  return numbered ? id.substr(0, colon) : id;
}

class BlockCallParser final : public CallParser {
  using Kind = AnswerEvent::Kind;

 public:
  explicit BlockCallParser(const BlockMarks& marks) : marks_(marks) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kText: return plain(text, last, out);
      case State::kBetween: return between(text, last, out);
      case State::kHead: return head(text, last, out);
      case State::kArguments: return arguments(text, out);
      case State::kTail: return tail(text, last);
    }
    return text.size();
  }

 private:
  enum class State {
    kText,       // of the user
    kBetween,    // inside the block of calls, before one
    kHead,       // what stands before the arguments
    kArguments,  // inside them
    kTail        // behind them, inside the call
  };

  std::size_t go(State state, std::size_t taken) {
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
    return go(State::kText, taken);
  }

  std::size_t plain(std::string_view text, bool last, AnswerEvents& out) {
    const Shown shown = show_until(marks_.calls, text, last, out);
    return shown.opened ? go(State::kBetween, shown.taken) : shown.taken;
  }

  std::size_t between(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    if (rest.starts_with(marks_.call)) return lead(text, space + marks_.call.size(), State::kHead);
    if (called_ && rest.starts_with(marks_.calls_end)) {
      lead_.clear();
      return go(State::kText, space + marks_.calls_end.size());
    }
    if (!last && (marks_.call.starts_with(rest) || marks_.calls_end.starts_with(rest))) return kMore;
    if (called_ && rest.empty()) return text.size();
    return no_call(text, 0, out);
  }

  // "name<sep>{" or "function<sep>name\n```json\n{", up to the brace.
  std::size_t head(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t separator = text.find(marks_.separator), brace = text.find('{');
    const std::size_t end = text.find(marks_.call_end);
    const bool begun = brace != std::string_view::npos && brace < end;
    if (begun ? separator > brace : end != std::string_view::npos) return no_call(text, 0, out);
    if (!begun) return last ? no_call(text, text.size(), out) : kMore;
    const std::size_t behind = separator + marks_.separator.size();
    std::string_view name = stripped(text.substr(behind, brace - behind)), id;
    name = name.empty() ? stripped(text.substr(0, separator)) : trimmed(name.substr(0, name.find_first_of("\n`")));
    if (marks_.id) name = name_in(id = name);
    if (name.empty()) return no_call(text, 0, out);
    lead_.clear();
    scanner_ = {};
    called_ = true;
    out.push_back({Kind::kCall, std::string(name), std::string(id)});
    return go(State::kArguments, brace);
  }

  std::size_t arguments(std::string_view text, AnswerEvents& out) {
    const std::size_t taken = scanner_.push(text);
    add(out, Kind::kArguments, text.substr(0, taken));
    return go(scanner_.done() ? State::kTail : State::kArguments, taken);
  }

  std::size_t tail(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    for (const std::string_view mark : {std::string_view("```"), marks_.call_end}) {
      if (rest.starts_with(mark))
        return go(mark == marks_.call_end ? State::kBetween : State::kTail, space + mark.size());
      if (!last && mark.starts_with(rest)) return kMore;
    }
    return go(State::kText, rest.empty() ? text.size() : 0);
  }

  const BlockMarks marks_;
  State state_ = State::kText;
  ObjectScanner scanner_;
};

}  // namespace

AnswerParserPtr make_block_call_parser(const BlockMarks& marks) { return std::make_unique<BlockCallParser>(marks); }

}  // namespace nacelle::chat
