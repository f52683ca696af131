// Calls written as JSON objects with a name and arguments: Hermes, Llama 3, Mistral and Command-R7B.
#pragma once

#include <string_view>

#include "api/chat/answer.hpp"

namespace nacelle::chat {

struct JsonCallStyle {
  std::string_view open;   // stands before a call, or before a list of them
  std::string_view close;  // stands after it; empty: nothing does
  bool list = false;       // calls may stand in a JSON array, or as name[ARGS]{...}
  bool bare = false;       // a call may begin the answer without the opening tag; it must then name a tool
};

// `tools`: OpenAI's tools of the request.
AnswerParserPtr make_json_call_parser(const JsonCallStyle& style, const Json& tools);

// The calls that a complete JSON object stands for; false, and nothing is added, where it is none.
bool add_whole_call(std::string_view object, AnswerEvents& out);

// Whether `tools` has a function of this name.
bool has_tool(const Json& tools, std::string_view name) noexcept;

// Finds the end of a JSON object in text that comes in pieces, by its braces and strings.
class ObjectScanner {
 public:
  // Bytes of `text` that belong to the object. The first of all must be its brace.
  std::size_t push(std::string_view text) noexcept;
  bool done() const noexcept { return done_; }

 private:
  std::size_t depth_ = 0;
  bool in_string_ = false, escaped_ = false, done_ = false;
};

}  // namespace nacelle::chat
