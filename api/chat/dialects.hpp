// The forms in which models write calls of tools: one table, and what a request needs of it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/chat/answer.hpp"
#include "api/chat/think.hpp"
#include "api/chat/tool_choice.hpp"

namespace nacelle::chat {

struct Dialect {
  std::string_view name;      // "hermes"
  std::string_view signs[2];  // a template that holds all of these writes this dialect
  std::string_view shown[6];  // special tokens that the parser must see in the text
  bool short_ids = false;     // ids of calls have 9 letters and digits
  bool channels = false;      // the parser is needed without tools too, and reasoning is in it
  AnswerParserPtr (*parser)(const Json& tools);
  std::string_view forced_prefix;  // what stands before the JSON of a forced call; "": see forced_call()
  bool parameters_key = false;     // the arguments' member is called "parameters"
};

// All dialects, in the order in which a template is held against them.
std::span<const Dialect> dialects() noexcept;
// nullptr: none that is known.
const Dialect* find_dialect(std::string_view chat_template) noexcept;

// How the answers to one prompt are to be read.
struct AnswerFormat {
  const Dialect* dialect = nullptr;  // nullptr: the text has no calls, or they are not looked for
  const ThinkTags* think = nullptr;  // nullptr: all is answer
  bool inside_think = false;         // the prompt ends with the opening tag
  Json tools;
  std::string begun;  // text of the answer that the prompt ends with already
};

AnswerParserPtr make_parser(const AnswerFormat& format);

// A call that must come: the prompt goes on with `prefix`, and the model writes a value of `schema` and ends.
struct ForcedCall {
  std::string prefix;
  Json schema;
  const Dialect* dialect;  // that the answer is read in
};
// nullopt where the dialect cannot say it in this way: harmony with a choice among several tools.
std::optional<ForcedCall> forced_call(const Dialect& dialect, const Json& tools, const ToolChoice& choice);

}  // namespace nacelle::chat
