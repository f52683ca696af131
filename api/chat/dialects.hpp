// The forms in which models write calls of tools: one table, and what a request needs of it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/chat/answer.hpp"
#include "api/chat/think.hpp"
#include "api/chat/tool_choice.hpp"
#include "core/constrain/constraint.hpp"

namespace nacelle::chat {

struct Dialect {
  std::string_view name;       // "hermes"
  std::string_view signs[2];   // a template that holds all of these writes this dialect,
  std::string_view sign = {};  // and one that holds this; "": none
  std::string_view shown[6];   // special tokens that the parser must see in the text
  bool short_ids = false;      // ids of calls have 9 letters and digits
  bool channels = false;       // the parser is needed without tools too, and reasoning is in it
  AnswerParserPtr (*parser)(const Json& tools);
  Json (*answer)(const Json& tools, const Json& content, std::string_view think);  // see call_forms.hpp
  bool bare_values = false;        // a call's values are not JSON: where one must come, it comes as Hermes's
  std::string_view forced_prefix;  // what stands before the JSON of a forced call; "": see forced_call()
  bool parameters_key = false;     // the arguments' member is called "parameters"
  std::string_view name_key = "name";
  std::string_view answer_marks[2] = {};        // around what is no call; dropped
  bool calls_without_content = false;           // templates want none beside calls, and arguments as text
  Json (*forced)(const Json& tools) = nullptr;  // one call behind the prefix, where that is no JSON object with a name
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

// A call that must come: the prompt goes on with `prefix`, and the model writes what `grammar` says and ends.
struct ForcedCall {
  std::string prefix;
  Json grammar;            // a part of a composition
  const Dialect* dialect;  // that the answer is read in
};
ForcedCall forced_call(const Dialect& dialect, const Json& tools, const ToolChoice& choice);
// `begun`: the prompt has the prefix. Else the answer begins with it, behind the reasoning.
constrain::ConstraintSpec forced_grammar(const AnswerFormat& format, const ForcedCall& call, bool begun);

// What answers in this format are held to: calls of strict tools to their schemas, from the moment that the model
// begins one, and what is no call to `content`, where that is given; reasoning comes before both. nullopt: nothing asks
// for a grammar. Throws Error(kUnsupported) for a strict tool that the dialect cannot hold to its schema.
std::optional<constrain::ConstraintSpec> answer_grammar(const AnswerFormat& format,
                                                        std::optional<constrain::ConstraintSpec> content);

}  // namespace nacelle::chat
