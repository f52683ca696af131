// Calls written as <function=NAME> <parameter=KEY> value </parameter> </function>: Qwen3-Coder.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

// What a schema's values may be, as bits; 0 where it does not say. A value that may be a text is written bare, and read
// as one (but for a bare null where that is allowed too); any other is JSON.
enum ValueKind : unsigned { kTextValue = 1, kNullValue = 2, kOtherValue = 4 };
unsigned value_kinds(const Json& root, const Json& schema);
// What stands behind the schema's $ref into `root`, or the schema.
const Json& resolved(const Json& root, const Json& schema);

// `tools` tell which values are text and which are JSON. The arguments come out a parameter at a time.
AnswerParserPtr make_xml_call_parser(const Json& tools);

}  // namespace nacelle::chat
