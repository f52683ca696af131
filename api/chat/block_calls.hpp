// Calls in a block between marks, the arguments as JSON. DeepSeek-V3 and R1: the kind of tool, its name, and the
// arguments as a block of Markdown; V3.1 and later: the name and the arguments. Kimi-K2: the call's id, which has the
// name in it.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

struct BlockMarks {
  std::string_view calls, call, separator, call_end, calls_end;
  bool id = false;  // "functions.NAME:0" is where the name would be
};
inline constexpr BlockMarks kDeepSeekMarks{"<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
                                           "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"};
inline constexpr BlockMarks kKimiMarks{"<|tool_calls_section_begin|>", "<|tool_call_begin|>",
                                       "<|tool_call_argument_begin|>", "<|tool_call_end|>",
                                       "<|tool_calls_section_end|>",   true};

// Reads both forms of DeepSeek's.
AnswerParserPtr make_block_call_parser(const BlockMarks& marks);

}  // namespace nacelle::chat
