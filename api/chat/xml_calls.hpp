// Calls written as <function=NAME> <parameter=KEY> value </parameter> </function>: Qwen3-Coder.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

// `tools` tell which values are text and which are JSON. The arguments come out a parameter at a time.
AnswerParserPtr make_xml_call_parser(const Json& tools);

}  // namespace nacelle::chat
