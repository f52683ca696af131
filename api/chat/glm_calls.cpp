#include "api/chat/glm_calls.hpp"

#include <utility>

#include "api/chat/xml_calls.hpp"

namespace nacelle::chat {
namespace {

constexpr std::string_view kGlmOpen = "<tool_call>", kGlmClose = "</tool_call>";
constexpr std::string_view kArgKey = "<arg_key>", kArgKeyEnd = "</arg_key>";
constexpr std::string_view kArgValue = "<arg_value>", kArgValueEnd = "</arg_value>";
constexpr std::size_t kLongestName = 256;  // of a function or parameter: more is no call

class GlmCallParser final : public CallParser {
 public:
  explicit GlmCallParser(const Json& tools) : tools_(tools) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kText: return plain(text, last, out);
      case State::kName: return name(text, last, out);
      case State::kParameters: return parameters(text, last, out);
      case State::kValue: return value(text, last, out);
    }
    return text.size();
  }

 private:
  enum class State {
    kText,
    kName,        // after <tool_call>
    kParameters,  // inside a call, between parameters
    kValue
  };

  // Whether `text` begins with `mark`, or may when more has come.
  enum class Found { kNo, kMore, kYes };
  static Found find(std::string_view text, std::string_view mark, bool last) {
    if (text.starts_with(mark)) return Found::kYes;
    return !last && mark.starts_with(text) ? Found::kMore : Found::kNo;
  }

  std::size_t plain(std::string_view text, bool last, AnswerEvents& out) {
    const Shown shown = show_until(kGlmOpen, text, last, out);
    if (shown.opened) state_ = State::kName;
    return shown.taken;
  }

  // A name is one where a key or the call's end stands behind it.
  std::size_t name(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    const std::size_t stop = rest.substr(0, kLongestName).find_first_of("<>\n");
    if (stop == std::string_view::npos) return rest.size() < kLongestName && !last ? kMore : no_call(out);
    const std::string_view word = trimmed(rest.substr(0, stop));
    const std::size_t gap = stop + leading_space(rest.substr(stop));
    const Found key = find(rest.substr(gap), kArgKey, last), close = find(rest.substr(gap), kGlmClose, last);
    if (!word.empty() && (key == Found::kYes || close == Found::kYes)) {
      lead_.clear();
      called_ = first_ = true;
      name_ = word;
      out.push_back({AnswerEvent::Kind::kCall, name_});
      add(out, AnswerEvent::Kind::kArguments, "{");
      state_ = State::kParameters;
      return space + gap;
    }
    return !word.empty() && (key == Found::kMore || close == Found::kMore) ? kMore : no_call(out);
  }

  std::size_t no_call(AnswerEvents& out) {
    show_lead(out);
    state_ = State::kText;
    return 0;
  }

  std::size_t parameters(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    const Found close = find(rest, kGlmClose, last), key = find(rest, kArgKey, last);
    if (close == Found::kYes) return done(space + kGlmClose.size(), out);
    if (key == Found::kYes) {
      const std::string_view inner = rest.substr(kArgKey.size());
      const std::size_t end = inner.substr(0, kLongestName).find(kArgKeyEnd);
      if (end != std::string_view::npos) {
        const std::string_view behind = inner.substr(end + kArgKeyEnd.size());
        const std::size_t gap = leading_space(behind);
        const Found found = find(behind.substr(gap), kArgValue, last);
        if (found == Found::kMore) return kMore;
        if (found == Found::kYes) {
          key_ = inner.substr(0, end);
          state_ = State::kValue;
          return space + kArgKey.size() + end + kArgKeyEnd.size() + gap + kArgValue.size();
        }
      } else if (!last && inner.size() < kLongestName) {
        return kMore;
      }
    }
    if (close == Found::kMore || key == Found::kMore) return kMore;
    return last ? text.size() : done(0, out);  // cut off, or broken
  }

  std::size_t done(std::size_t taken, AnswerEvents& out) {
    add(out, AnswerEvent::Kind::kArguments, "}");
    state_ = State::kText;
    return taken;
  }

  std::size_t value(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t end = text.find(kArgValueEnd);
    if (end == std::string_view::npos && !last) return kMore;
    const std::string_view inner = text.substr(0, end);
    const std::string member = bare_member(tools_, name_, key_, inner, end != std::string_view::npos);
    add(out, AnswerEvent::Kind::kArguments, (std::exchange(first_, false) ? "" : ", ") + member);
    state_ = State::kParameters;
    return end == std::string_view::npos ? text.size() : end + kArgValueEnd.size();
  }

  const Json tools_;
  State state_ = State::kText;
  std::string name_, key_;
  bool first_ = true;  // no parameter was written yet
};

}  // namespace

AnswerParserPtr make_glm_call_parser(const Json& tools) { return std::make_unique<GlmCallParser>(tools); }

}  // namespace nacelle::chat
