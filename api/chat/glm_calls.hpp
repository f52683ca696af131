// Calls written as <tool_call>NAME <arg_key>KEY</arg_key> <arg_value>value</arg_value> ... </tool_call>: GLM-4.5.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

// Values are bare, as xml_calls.hpp has them. The arguments come out a parameter at a time.
AnswerParserPtr make_glm_call_parser(const Json& tools);

}  // namespace nacelle::chat
