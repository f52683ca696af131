// Calls written as <function=NAME> <parameter=KEY> value </parameter> </function>: Qwen3-Coder, Seed-OSS with marks of
// its own around them, and MiniMax-M2 with tags of its own as well.
#pragma once

#include <string>
#include <string_view>

#include "api/chat/answer.hpp"

namespace nacelle::chat {

// What a schema's values may be, as bits; 0 where it does not say. A value that may be a text is written bare, and read
// as one (but for a bare null where that is allowed too); any other is JSON.
enum ValueKind : unsigned { kTextValue = 1, kNullValue = 2, kOtherValue = 4 };
unsigned value_kinds(const Json& root, const Json& schema);
// What stands behind the schema's $ref into `root`, or the schema.
const Json& resolved(const Json& root, const Json& schema);

// The member of a call's arguments that a bare value makes, as JSON: the value is JSON where the function's schema in
// `tools` asks for another type than text. One that is not `whole`, as the answer's end has cut it off, is a text
// without its closing quote, which shows that.
std::string bare_member(const Json& tools, std::string_view function, std::string_view parameter, std::string_view text,
                        bool whole);

struct XmlMarks {
  std::string_view open, close;  // around functions
  std::string_view function = "<function=", function_end = "</function>";
  std::string_view parameter = "<parameter=", parameter_end = "</parameter>";
  std::string_view name_end = ">";  // behind the name of either
};
inline constexpr XmlMarks kQwenMarks{"<tool_call>", "</tool_call>"},
    kSeedMarks{"<seed:tool_call>", "</seed:tool_call>"},
    kMiniMaxMarks{"<minimax:tool_call>",
                  "</minimax:tool_call>",
                  "<invoke name=\"",
                  "</invoke>",
                  "<parameter name=\"",
                  "</parameter>",
                  "\">"};

// `tools` tell which values are text and which are JSON. The arguments come out a parameter at a time.
AnswerParserPtr make_xml_call_parser(const Json& tools, const XmlMarks& marks);

}  // namespace nacelle::chat
