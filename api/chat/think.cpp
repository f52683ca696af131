#include "api/chat/think.hpp"

#include <utility>

namespace nacelle::chat {
namespace {

constexpr ThinkTags kThinkTags[] = {{"<think>", "</think>"},
                                    {"[THINK]", "[/THINK]"},
                                    {"<seed:think>", "</seed:think>"},
                                    {"<|START_THINKING|>", "<|END_THINKING|>"}};

class ThinkParser final : public HoldingParser {
 public:
  ThinkParser(const ThinkTags& tags, bool inside, AnswerParserPtr rest)
      : tags_(tags), rest_(std::move(rest)), state_(State::kStart), inside_(inside) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kStart: return start(text, last);
      case State::kThinking: return think(text, last, out);
      case State::kGap: {  // white space after the closing tag belongs to neither
        const std::size_t space = leading_space(text);
        if (space < text.size()) state_ = State::kRest;
        return space;
      }
      case State::kRest: break;
    }
    rest_->push(text, out);
    return text.size();
  }

  void end(AnswerEvents& out) override { rest_->finish(out); }

 private:
  enum class State { kStart, kThinking, kGap, kRest };

  // Some models write the opening tag though the prompt ends with it.
  std::size_t start(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    const std::string_view word = text.substr(space);
    if (word.starts_with(tags_.open)) {
      state_ = State::kThinking;
      fresh_ = true;
      return space + tags_.open.size();
    }
    if (!last && tags_.open.starts_with(word)) return kMore;
    state_ = inside_ ? State::kThinking : State::kRest;
    fresh_ = inside_;
    return 0;
  }

  std::size_t think(std::string_view text, bool last, AnswerEvents& out) {
    if (const std::size_t space = leading_space(text); fresh_) {
      if (space < text.size()) fresh_ = false;
      if (space > 0) return space;
    }
    const std::size_t close = text.find(tags_.close);
    if (close != std::string_view::npos) {
      add(out, AnswerEvent::Kind::kReasoning, trimmed(text.substr(0, close)));
      state_ = State::kGap;
      return close + tags_.close.size();
    }
    const std::size_t held = last ? 0 : partial_mark(text, tags_.close);
    const std::size_t shown = trimmed(text.substr(0, text.size() - held)).size();
    add(out, AnswerEvent::Kind::kReasoning, text.substr(0, shown));
    if (last) return text.size();
    return shown > 0 ? shown : kMore;
  }

  const ThinkTags tags_;
  const AnswerParserPtr rest_;
  State state_;
  const bool inside_;
  bool fresh_ = false;  // nothing was thought yet: white space is dropped
};

}  // namespace

const ThinkTags* find_think_tags(std::string_view chat_template) noexcept {
  for (const ThinkTags& tags : kThinkTags) {
    if (chat_template.find(tags.close) != std::string_view::npos) return &tags;
  }
  return nullptr;
}

AnswerParserPtr make_think_parser(const ThinkTags& tags, bool inside, AnswerParserPtr rest) {
  return std::make_unique<ThinkParser>(tags, inside, std::move(rest));
}

}  // namespace nacelle::chat
