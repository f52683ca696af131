// Calls written as a list of Python's, [NAME(KEY=VALUE, ...), ...], between marks: LFM2, which writes JSON objects
// there instead when it is asked to.
#pragma once

#include <string_view>

#include "api/chat/answer.hpp"

namespace nacelle::chat {

struct PythonMarks {
  std::string_view open, close;
};
inline constexpr PythonMarks kPythonMarks{"<|tool_call_start|>", "<|tool_call_end|>"};

// Reads both forms. Of Python's the arguments come out a parameter at a time, their literals as JSON. `tools`: OpenAI's
// tools of the request.
AnswerParserPtr make_python_call_parser(const Json& tools);

}  // namespace nacelle::chat
