// Calls written as Python's, NAME(KEY=VALUE, ...): in a list between marks (LFM2, which writes JSON objects there
// instead when it is asked to), in a list that is the whole answer (Llama 3.2 and 4, Gemma 3), or a line each between
// marks (OLMo 3).
#pragma once

#include <string_view>

#include "api/chat/answer.hpp"

namespace nacelle::chat {

struct PythonStyle {
  std::string_view open, close;
  bool list = true;      // in brackets, with commas between calls; else lines
  bool objects = false;  // a list, or one, of JSON objects may stand there instead
  bool bare = false;     // a list may begin the answer without the mark; its first call must then name a tool
};
inline constexpr PythonStyle kLfm2Style{.open = "<|tool_call_start|>", .close = "<|tool_call_end|>", .objects = true};
inline constexpr PythonStyle kLlama4Style{.open = "<|python_start|>", .close = "<|python_end|>", .bare = true};
inline constexpr PythonStyle kOlmo3Style{.open = "<function_calls>", .close = "</function_calls>", .list = false};

// The arguments come out a parameter at a time, their literals as JSON. `tools`: OpenAI's tools of the request.
AnswerParserPtr make_python_call_parser(const PythonStyle& style, const Json& tools);

}  // namespace nacelle::chat
