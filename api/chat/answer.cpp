#include "api/chat/answer.hpp"

#include <algorithm>

namespace nacelle::chat {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

void add(AnswerEvents& out, AnswerEvent::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (!out.empty() && out.back().kind == kind) {
    out.back().text += text;
  } else {
    out.push_back({kind, std::string(text)});
  }
}

void HoldingParser::push(std::string_view text, AnswerEvents& out) {
  held_ += text;
  run(false, out);
}

void HoldingParser::finish(AnswerEvents& out) {
  run(true, out);
  add(out, AnswerEvent::Kind::kContent, held_);
  held_.clear();
  end(out);
}

void HoldingParser::run(bool last, AnswerEvents& out) {
  std::size_t taken = 0;
  while (taken < held_.size()) {
    const std::size_t count = step(std::string_view(held_).substr(taken), last, out);
    if (count == kMore) break;
    taken += count;
  }
  held_.erase(0, taken);
}

CallParser::Shown CallParser::show_until(std::string_view mark, std::string_view text, bool last, AnswerEvents& out,
                                         std::string_view beginning) {
  const std::size_t marked = text.find(mark);
  const std::size_t open = beginning.empty() ? marked : std::min(marked, text.find(beginning));
  if (open != std::string_view::npos) {
    const std::size_t shown = trimmed(text.substr(0, open)).size();
    const std::size_t behind = open == marked ? open + mark.size() : open;
    add(out, AnswerEvent::Kind::kContent, text.substr(0, shown));
    lead_ = text.substr(shown, behind - shown);
    return {behind, true};
  }
  if (last) {
    if (!called_ || leading_space(text) < text.size()) add(out, AnswerEvent::Kind::kContent, text);
    return {text.size(), false};
  }
  const std::size_t held = std::max(partial_mark(text, mark), partial_mark(text, beginning));
  const std::size_t shown = trimmed(text.substr(0, text.size() - held)).size();
  add(out, AnswerEvent::Kind::kContent, text.substr(0, shown));
  return {shown > 0 ? shown : kMore, false};
}

void CallParser::show_lead(AnswerEvents& out) {
  add(out, AnswerEvent::Kind::kContent, lead_);
  lead_.clear();
}

std::string joined(const AnswerEvents& events, AnswerEvent::Kind kind) {
  std::string text;
  for (const AnswerEvent& event : events) {
    if (event.kind == kind) text += event.text;
  }
  return text;
}

bool has_calls(const AnswerEvents& events) noexcept {
  return std::any_of(events.begin(), events.end(),
                     [](const AnswerEvent& event) { return event.kind == AnswerEvent::Kind::kCall; });
}

void ReasoningCount::add(std::size_t tokens, const AnswerEvents& events, bool last) noexcept {
  held_ += tokens;
  if (events.empty() && !last) return;
  if (!events.empty() && events.front().kind == AnswerEvent::Kind::kReasoning)
    reasoning_ += static_cast<std::uint32_t>(held_);
  held_ = 0;
}

std::vector<ToolCall> calls_of(const AnswerEvents& events) {
  std::vector<ToolCall> calls;
  for (const AnswerEvent& event : events) {
    if (event.kind == AnswerEvent::Kind::kCall) calls.push_back({event.id, event.text, ""});
    if (event.kind == AnswerEvent::Kind::kArguments && !calls.empty()) calls.back().arguments += event.text;
  }
  return calls;
}

std::size_t partial_mark(std::string_view text, std::string_view mark) noexcept {
  if (mark.empty()) return 0;
  for (std::size_t length = std::min(mark.size() - 1, text.size()); length > 0; --length) {
    if (mark.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

std::size_t leading_space(std::string_view text) noexcept {
  return std::min(text.find_first_not_of(kSpace), text.size());
}

std::string_view trimmed(std::string_view text) noexcept {
  return text.substr(0, text.find_last_not_of(kSpace) + 1);  // npos + 1 is 0
}

}  // namespace nacelle::chat
