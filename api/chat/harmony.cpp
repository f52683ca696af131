#include "api/chat/harmony.hpp"

#include <algorithm>
#include <array>

namespace nacelle::chat {
namespace {

constexpr std::string_view kStartMark = "<|start|>", kChannelMark = "<|channel|>", kMessageMark = "<|message|>";
constexpr std::array<std::string_view, 5> kEnds = {"<|end|>", "<|call|>", "<|return|>", kStartMark, kChannelMark};
constexpr std::size_t kMaxHeader = 256;  // bytes; more without <|message|> is no header
constexpr std::string_view kFunctions = "functions.";

// The word behind `mark` in a header.
std::string_view word_after(std::string_view header, std::string_view mark) {
  const std::size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = header.substr(at + mark.size());
  return rest.substr(0, rest.find_first_of(" \n\t<"));
}

class HarmonyParser final : public HoldingParser {
 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    return in_header_ ? header(text, last, out) : body(text, last, out);
  }

 private:
  // A header begins with one of these; other text is a message without one.
  static bool may_be_header(std::string_view text) {
    for (const std::string_view begin :
         {kChannelMark, kStartMark, kMessageMark, std::string_view("to="), std::string_view("assistant")}) {
      if (text.starts_with(begin) || begin.starts_with(text)) return true;
    }
    return false;
  }

  std::size_t header(std::string_view text, bool last, AnswerEvents& out) {
    const bool open = may_be_header(text.substr(leading_space(text)));
    const std::size_t end = open ? text.substr(0, kMaxHeader).find(kMessageMark) : std::string_view::npos;
    if (end != std::string_view::npos) {
      begin_message(text.substr(0, end), out);
      return end + kMessageMark.size();
    }
    if (open && text.size() < kMaxHeader && !last) return kMore;
    in_header_ = false;
    kind_ = AnswerEvent::Kind::kContent;
    at_text_ = true;
    return 0;
  }

  void begin_message(std::string_view header, AnswerEvents& out) {
    in_header_ = false;
    std::string_view recipient = word_after(header, "to=");
    const std::string_view channel = word_after(header, kChannelMark);
    kind_ = channel == "analysis" ? AnswerEvent::Kind::kReasoning : AnswerEvent::Kind::kContent;
    if (recipient.empty() || recipient == "user") return;
    if (recipient.starts_with(kFunctions)) recipient.remove_prefix(kFunctions.size());
    out.push_back({AnswerEvent::Kind::kCall, std::string(recipient)});
    kind_ = AnswerEvent::Kind::kArguments;
  }

  std::size_t body(std::string_view text, bool last, AnswerEvents& out) {
    std::size_t first = std::string_view::npos, held = 0;
    std::string_view mark;
    for (const std::string_view end : kEnds) {
      const std::size_t at = text.find(end, at_text_ ? 1 : 0);
      if (at < first) {
        first = at;
        mark = end;
      }
      held = std::max(held, partial_mark(text, end));
    }
    if (first != std::string_view::npos) {
      add(out, kind_, text.substr(0, first));
      in_header_ = true;
      at_text_ = false;
      const bool begins_header = mark == kStartMark || mark == kChannelMark;
      return begins_header ? first : first + mark.size();
    }
    const std::size_t shown = last ? text.size() : text.size() - held;
    if (shown == 0) return kMore;
    add(out, kind_, text.substr(0, shown));
    at_text_ = false;
    return shown;
  }

  bool in_header_ = true;
  bool at_text_ = false;  // this is no header after all: a tag at its beginning is text
  AnswerEvent::Kind kind_ = AnswerEvent::Kind::kContent;
};

}  // namespace

AnswerParserPtr make_harmony_parser() { return std::make_unique<HarmonyParser>(); }

}  // namespace nacelle::chat
