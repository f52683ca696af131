// Reasoning between tags: <think> ... </think> before the answer proper.
#pragma once

#include <string_view>

#include "api/chat/answer.hpp"

namespace nacelle::chat {

struct ThinkTags {
  std::string_view open, close;
};

// The tags that the template speaks of; nullptr for a model that does not reason in its text.
const ThinkTags* find_think_tags(std::string_view chat_template) noexcept;

// Splits reasoning off and gives the rest to `rest`. `inside`: the prompt ends with the opening tag.
AnswerParserPtr make_think_parser(const ThinkTags& tags, bool inside, AnswerParserPtr rest);

}  // namespace nacelle::chat
