// Calls as DeepSeek's models write them, between marks of their own. V3 and R1: the kind of tool, its name, and the
// arguments as a block of Markdown; V3.1 and later: the name and the arguments.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

inline constexpr std::string_view kDeepSeekCalls = "<｜tool▁calls▁begin｜>", kDeepSeekCallsEnd = "<｜tool▁calls▁end｜>",
                                  kDeepSeekCall = "<｜tool▁call▁begin｜>", kDeepSeekCallEnd = "<｜tool▁call▁end｜>",
                                  kDeepSeekSeparator = "<｜tool▁sep｜>";

// Reads both forms. `tools` is not looked at: nothing but a call begins with such marks.
AnswerParserPtr make_deepseek_call_parser(const Json& tools);

}  // namespace nacelle::chat
