// The table of dialects: which template is which, and how a call is forced.
#include "api/chat/dialects.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "api/chat/json_calls.hpp"

using namespace nacelle;
using namespace nacelle::chat;

namespace {

std::string name_of(const std::string& file) {
  std::ifstream stream(std::string(NACELLE_SOURCE_DIR "/tests/unit/chat/templates/") + file + ".jinja");
  REQUIRE(stream.good());
  std::stringstream text;
  text << stream.rdbuf();
  const Dialect* dialect = find_dialect(text.str());
  return dialect ? std::string(dialect->name) : "";
}

const Dialect& dialect_called(std::string_view name) {
  for (const Dialect& one : dialects()) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no such dialect");
}

}  // namespace

TEST_CASE("a template's dialect is told by its text") {
  CHECK(name_of("harmony") == "harmony");
  CHECK(name_of("hermes_tools") == "hermes");
  CHECK(name_of("llama3_tools") == "llama3");
  CHECK(name_of("mistral") == "mistral");
  CHECK(name_of("qwen3_reasoning") == "hermes");
  CHECK(name_of("gemma").empty());
  CHECK(name_of("phi").empty());
  CHECK(find_dialect("<tool_call>\n<function=a>\n<parameter=b>\n</tool_call>")->name == "qwen_xml");
  const std::string deepseek = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>";
  CHECK(find_dialect(deepseek + "' + '```json'")->name == "deepseek");
  CHECK(find_dialect(deepseek)->name == "deepseek_v31");
  CHECK(find_dialect("<seed:tool_call>\n<function=a>\n<parameter=b>c</parameter>")->name == "seed_xml");
  CHECK(find_dialect("<tool_call>{name}\n<arg_key>k</arg_key>\n<arg_value>v</arg_value>\n</tool_call>")->name == "glm");
  CHECK(find_dialect("<|START_ACTION|>[]<|END_ACTION|>")->name == "command");
  CHECK(find_dialect("<|tool_calls_section_begin|><|tool_call_begin|>")->name == "kimi");
  CHECK(find_dialect("{{ '<|im_system|>tool_declare<|im_middle|>' -}}")->name == "kimi");  // K2's first has no calls
  CHECK(find_dialect("List of tools: <|tool_list_start|>[")->name == "lfm2");
  CHECK(find_dialect("{{- '<|tool_call_start|>[' + calls + ']<|tool_call_end|>' -}}")->name == "lfm2");
  CHECK(find_dialect("'<functions>' + tools + '</functions>' '<function_calls>' + calls + '</function_calls>'")->name ==
        "olmo3");
  for (const char* asked :
       {"Environment: ipython [func_name1(params_name1=params_value1, params_name2=...), func_name2(params)]",
        "'ipython' \"parameters\": [func_name1(param1=value1, param2=value2), func_name2(...)]"})
    CHECK(find_dialect(asked)->name == "pythonic");
  CHECK(find_dialect("'<tool_calls>[' + calls + ']</tool_calls>'")->name == "hunyuan");
  CHECK(find_dialect("set begin = '<minimax:tool_call>'\n<invoke name=\"a\">\n<parameter name=\"b\">")->name ==
        "minimax_xml");
  CHECK(find_dialect("<AVAILABLE_TOOLS>[]</AVAILABLE_TOOLS> <TOOLCALL>[]</TOOLCALL>")->name == "nemotron");
  CHECK(find_think_tags("<think>") == nullptr);
  CHECK(find_think_tags("<seed:think> </seed:think>")->open == "<seed:think>");
}

namespace {

const Json kStrictTools = Json::parse(R"([
    {"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object",
      "properties": {"s": {"type": "string"}, "n": {"$ref": "#/$defs/small"}, "u": {"type": ["string", "null"], "enum": ["c", null]}},
      "required": ["s", "n"], "additionalProperties": false, "$defs": {"small": {"type": "integer", "minimum": 0, "maximum": 9}}}}},
    {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "required": ["never"]}}}])");

constexpr TokenId kStop = 256;

// Token n is the byte n; then come the end of an answer and, as one token each, `special`.
std::shared_ptr<const constrain::Vocabulary> vocabulary_with(std::span<const std::string> special) {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  texts.emplace_back();
  for (const std::string& one : special) texts.push_back('\xff' + one);
  std::vector<constrain::Vocabulary::Token> tokens;
  for (std::size_t id = 0; id < texts.size(); ++id)
    if (!texts[id].empty()) tokens.push_back({static_cast<TokenId>(id), texts[id]});
  return constrain::Vocabulary::make(tokens, {kStop}, texts.size());
}

// Whether an answer of `format` may be `text`: with the dialect's marks as special tokens, or spelled.
bool may_be(const AnswerFormat& format, const std::optional<constrain::ConstraintSpec>& content, std::string_view text,
            bool spelled) {
  static const std::vector<std::string> special = {"<tool_call>",
                                                   "</tool_call>",
                                                   "[TOOL_CALLS]",
                                                   "[CALL_ID]",
                                                   "[ARGS]",
                                                   "<|python_tag|>",
                                                   "<|start|>",
                                                   "<|channel|>",
                                                   "<|message|>",
                                                   "<|end|>",
                                                   "<|constrain|>",
                                                   "<think>",
                                                   "</think>",
                                                   "<｜tool▁calls▁begin｜>",
                                                   "<｜tool▁call▁begin｜>",
                                                   "<｜tool▁sep｜>",
                                                   "<｜tool▁call▁end｜>",
                                                   "<｜tool▁calls▁end｜>",
                                                   "<arg_key>",
                                                   "</arg_key>",
                                                   "<arg_value>",
                                                   "</arg_value>",
                                                   "<|tool_calls_section_begin|>",
                                                   "<|tool_call_begin|>",
                                                   "<|tool_call_argument_begin|>",
                                                   "<|tool_call_end|>",
                                                   "<|tool_calls_section_end|>",
                                                   "<|tool_call_start|>",
                                                   "<|python_start|>",
                                                   "<|python_end|>",
                                                   "<function_calls>",
                                                   "</function_calls>",
                                                   "<tool_calls>",
                                                   "</tool_calls>",
                                                   "<TOOLCALL>",
                                                   "</TOOLCALL>",
                                                   "<minimax:tool_call>",
                                                   "</minimax:tool_call>",
                                                   "<seed:tool_call>",
                                                   "</seed:tool_call>",
                                                   "<|START_ACTION|>",
                                                   "<|END_ACTION|>"};
  static const auto vocabulary = vocabulary_with(special);
  const auto grammar = constrain::Grammar::compile(answer_grammar(format, content).value(), vocabulary);
  constrain::Matcher matcher(grammar);
  for (std::size_t at = 0; at < text.size();) {
    const auto mark = std::find_if(special.begin(), special.end(),
                                   [&](const std::string& one) { return text.substr(at).starts_with(one); });
    const bool whole = !spelled && mark != special.end();
    if (!matcher.accept(whole ? kStop + 1 + static_cast<TokenId>(mark - special.begin())
                              : static_cast<TokenId>(static_cast<unsigned char>(text[at]))))
      return false;
    at += whole ? mark->size() : 1;
  }
  return matcher.accept(kStop);
}

struct Answers {
  const char* dialect;
  std::vector<std::string> in, out;
};

const Answers kAnswers[] = {
    {"hermes",
     {"", "Hello.", "a <tool_cal b",
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"<tool_\", \"n\": 3}}\n</tool_call>",
      "First:\n<tool_call>{\"name\":\"g\",\"arguments\":{\"x\":[1]}}</tool_call>\n<tool_call>\n{\"name\": \"f\", "
      "\"arguments\": {\"s\": \"\", \"n\": 0, \"u\": null}}\n</tool_call> Done."},
     {"<tool_call>", "<tool_call>\n{\"name\": \"h\", \"arguments\": {}}\n</tool_call>",
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 10}}\n</tool_call>",
      "<tool_call>\n{\"name\": \"f\", "
      "\"arguments\": {\"s\": \"a\", \"n\": 1, \"u\": \"d\"}}\n</tool_call>",
      "<tool_call>hello</tool_call>", "Hi <tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}"}},
    {"qwen_xml",
     {"Hello <function>",
      "<tool_call>\n<function=f>\n<parameter=s>\na\n</b>\n</parameter>\n<parameter=n>\n7\n</parameter>\n</function>\n</"
      "tool_call>",
      "Ok.<tool_call>\n<function=f>\n<parameter=s>\n\n</parameter>\n<parameter=n>\n0\n</"
      "parameter>\n<parameter=u>\nnull\n</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=g>\n<parameter=x>what\n</parameter></function>\n</tool_call>", "<function=g></function>"},
     {"<tool_call>\n<function=h>\n</function>\n</tool_call>", "<tool_call>\n<function=f>\n</function>\n</tool_call>",
      "<function=f>\n<parameter=s>\na\n</parameter>\n<parameter=n>\nseven\n</parameter>\n</function>",
      "<function=f>\n<parameter=s>\na\n</parameter>\n<parameter=n>\n7\n</parameter>\n<parameter=u>\nd\n</parameter>\n</"
      "function>"}},
    {"deepseek",
     {"Hello <｜tool",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"s\": \"a\", \"n\": 1}\n```"
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "Ok.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{\"x\":[1]}\n```<"
      "｜tool▁call▁end｜>\n"
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"s\": \"\", \"n\": 0, \"u\": "
      "null}\n```<｜tool▁call▁end｜>"
      "<｜tool▁calls▁end｜>"},
     {"<｜tool▁calls▁begin｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><"
      "｜tool▁calls▁end｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>h\n```json\n{}\n```<｜tool▁call▁end｜><"
      "｜tool▁calls▁end｜>",
      "<｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>"}},
    {"deepseek_v31",
     {"Hello",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"s\": \"a\", \"n\": "
      "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<"
      "｜tool▁sep｜>{\"a\": 1}"
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
     {"<｜tool▁calls▁begin｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"s\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>h<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"}},
    {"kimi",
     {"Hello <|tool_calls",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"s\": \"a\", \"n\": "
      "1}<|tool_call_end|><|tool_calls_section_end|>",
      "Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.g:0<|tool_call_argument_begin|>{\"x\":[1]}"
      "<|tool_call_end|><|tool_call_begin|>functions.f:12<|tool_call_argument_begin|>{\"s\": \"\", \"n\": 0, \"u\": "
      "null}"
      "<|tool_call_end|>\n<|tool_calls_section_end|> Done."},
     {"<|tool_calls_section_begin|>",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
      "<|tool_calls_section_end|>",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.h:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
      "<|tool_calls_section_end|>",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.g<|tool_call_argument_begin|>{}<|tool_call_end|>"
      "<|tool_calls_section_end|>",
      "<|tool_calls_section_begin|>x<|tool_calls_section_end|>"}},
    {"lfm2",
     {"Hello [f()]", "<|tool_call_start|>[f(s=\"a\", n=1)]<|tool_call_end|>",
      "Ok.<|tool_call_start|>[f(s=\")]\", n=0, u=None), g(x=[1], y='it\\'s)')]<|tool_call_end|> Done.",
      "<|tool_call_start|>[f(s=\"\", n=2, u=\"c\")]<|tool_call_end|>",
      "<|tool_call_start|>[{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}, {\"name\": \"g\", "
      "\"arguments\": "
      "{}}]<|tool_call_end|>"},
     {"<|tool_call_start|>", "<|tool_call_start|>[f()]<|tool_call_end|>", "<|tool_call_start|>[h()]<|tool_call_end|>",
      "<|tool_call_start|>[f(s=\"a\", n=10)]<|tool_call_end|>", "<|tool_call_start|>[f(n=1, s=\"a\")]<|tool_call_end|>",
      "<|tool_call_start|>[f(s=\"a\", n=1, u=\"d\")]<|tool_call_end|>", "<|tool_call_start|>[g(x=[1]]<|tool_call_end|>",
      "<|tool_call_start|>[f(s=\"a\"n=1)]<|tool_call_end|>",
      "<|tool_call_start|>[{\"name\": \"f\", \"arguments\": {}}]<|tool_call_end|>",
      "<|tool_call_start|>[f(s=\"a\", n=1)"}},
    {"olmo3",
     {"Hello f(s=\"a\")", "<function_calls>f(s=\"a\", n=1)</function_calls>",
      "Ok.<function_calls>\nf(s=\")\", n=0, u=null)\ng(x=[1], y='it\\'s)')\n</function_calls> Done."},
     {"<function_calls>", "<function_calls>f()</function_calls>", "<function_calls>h()</function_calls>",
      "<function_calls>f(s=\"a\", n=10)</function_calls>", "<function_calls>[f(s=\"a\", n=1)]</function_calls>",
      "<function_calls>g() g()</function_calls>", "<function_calls>f(s=\"a\", n=1)"}},
    {"pythonic",
     {"Hello [f()]", "[f(s=\"a\", n=1)]", "[h(s=1)] is no tool, and [1, 2] neither",
      "[f(s=\"]\", n=0, u=None), g(x=[1], y='it\\'s)')] Done.", "Ok.<|python_start|>[g()]<|python_end|> [f()]",
      "<|python_start|>[f(s=\"\", n=2, u=\"c\")]"},
     {"[f(", "[f()]", "\n[ f (n=1)]", "[f(s=\"a\", n=10)]", "[f(n=1, s=\"a\")]", "[g(), f()]", "[g(), h()]",
      "<|python_start|>", "<|python_start|>[h()]<|python_end|>", "[f(s=\"a\", n=1)"}},
    {"hunyuan",
     {"Hello <tools>",
      "<tool_calls>[{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}, {\"name\": \"g\", \"arguments\": "
      "{}}]</tool_calls>",
      "Ok.\n<tool_calls>[{\"name\": \"g\", \"arguments\": {\"x\": 1}}]</tool_calls> Done."},
     {"<tool_calls>", "<tool_calls>[{\"name\": \"f\", \"arguments\": {}}]</tool_calls>",
      "<tool_calls>[{\"name\": \"h\", \"arguments\": {}}]</tool_calls>", "<tool_calls>hello</tool_calls>"}},
    {"minimax_xml",
     {"Hello <invoke>",
      "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">a\n</b></parameter>\n<parameter name=\"n\">7"
      "</parameter>\n</invoke>\n</minimax:tool_call>",
      "<minimax:tool_call>\n<invoke name=\"g\">\n<parameter name=\"x\">what</parameter></invoke>\n<invoke name=\"g\">"
      "</invoke>\n</minimax:tool_call>"},
     {"<minimax:tool_call>\n<invoke name=\"h\">\n</invoke>\n</minimax:tool_call>",
      "<minimax:tool_call>\n<invoke name=\"f\">\n</invoke>\n</minimax:tool_call>",
      "<invoke name=\"f\">\n<parameter name=\"s\">a</parameter>\n<parameter name=\"n\">seven</parameter>\n</invoke>"}},
    {"nemotron",
     {"Hello <TOOL>",
      "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}, {\"name\": \"g\", \"arguments\": "
      "{}}]</TOOLCALL>",
      "Ok.\n\n<TOOLCALL>[{\"name\": \"g\", \"arguments\": {\"x\": 1}}]</TOOLCALL> Done."},
     {"<TOOLCALL>", "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {}}]</TOOLCALL>",
      "<TOOLCALL>[{\"name\": \"h\", \"arguments\": {}}]</TOOLCALL>", "<TOOLCALL>hello</TOOLCALL>",
      "<TOOLCALL>[{\"name\": \"g\", \"arguments\": {}}"}},
    {"seed_xml",
     {"Hello <function>",
      "<seed:tool_call>\n<function=f>\n<parameter=s>a\n</b></parameter>\n<parameter=n>7</parameter>\n</function>\n"
      "</seed:tool_call>",
      "<seed:tool_call>\n<function=g>\n<parameter=x>what\n</parameter></function>\n</seed:tool_call>"},
     {"<seed:tool_call>\n<function=h>\n</function>\n</seed:tool_call>",
      "<seed:tool_call>\n<function=f>\n</function>\n</seed:tool_call>",
      "<function=f>\n<parameter=s>a</parameter>\n<parameter=n>seven</parameter>\n</function>"}},
    {"glm",
     {"Hello <arg_key>",
      "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>a\n</b></arg_value>\n<arg_key>n</arg_key>\n"
      "<arg_value>7</arg_value>\n</tool_call>",
      "Ok.\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value></arg_value>\n<arg_key>n</arg_key>\n<arg_value>0</"
      "arg_value>\n"
      "<arg_key>u</arg_key>\n<arg_value>null</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call> Done.",
      "<tool_call>g<arg_key>x</arg_key><arg_value>what\n</arg_value></tool_call>"},
     {"<tool_call>", "<tool_call>h\n</tool_call>", "<tool_call>f\n</tool_call>", "<tool_call>g\nhello</tool_call>",
      "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>a</arg_value>\n<arg_key>n</arg_key>\n<arg_value>seven</"
      "arg_value>\n"
      "</tool_call>",
      "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>a</arg_value>\n<arg_key>n</arg_key>\n<arg_value>7</arg_value>\n"
      "<arg_key>u</arg_key>\n<arg_value>d</arg_value>\n</tool_call>"}},
    {"mistral",
     {"Hello",
      "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}, {\"name\": \"g\", \"arguments\": {}, "
      "\"id\": \"abcdefgh9\"}]",
      "[TOOL_CALLS]f[ARGS]{\"s\": \"a\", \"n\": 1}[TOOL_CALLS]g[CALL_ID]abcdefgh9[ARGS]{}", "[TOOL_CALLS]g{\"a\":1}"},
     {"[TOOL_CALLS]", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 11}}]",
      "[TOOL_CALLS]f[ARGS]{}", "[TOOL_CALLS]h[ARGS]{}"}},
    {"command",
     {"Hello",
      "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"s\": \"a\", \"n\": "
      "1}},\n"
      "    {\"tool_call_id\": \"1\", \"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>",
      "<|START_ACTION|>[{\"tool_name\":\"g\",\"parameters\":{}}]<|END_ACTION|>"},
     {"<|START_ACTION|>", "<|START_ACTION|>[{\"tool_name\": \"f\", \"parameters\": {}}]<|END_ACTION|>",
      "<|START_ACTION|>[{\"tool_name\": \"h\", \"parameters\": {}}]<|END_ACTION|>",
      "<|START_ACTION|>hello<|END_ACTION|>"}},
    {"llama3",
     {"Hello", "{\"name\": \"f\", \"parameters\": {\"s\": \"a\", \"n\": 1}}", "{\"name\": \"Ann\", \"parameters\": 4}",
      "{\"a\": {\"name\": \"f\", \"x\": 1}}",
      "{\"name\": \"f\", \"parameters\": {\"s\": \"a\", \"n\": 1}}; {\"name\": \"g\", \"parameters\": {\"q\": null}}",
      "<|python_tag|>{\"name\": \"g\", \"parameters\": {}} more"},
     {"{\"name\": \"f\", \"parameters\": {}}", " { \"type\": \"function\", \"name\" : \"f\"}", "{\"name\": \"f\"}",
      "{\"parameters\": {}, \"name\": \"f\"}", "<|python_tag|>print(1)",
      "{\"name\": \"g\", \"parameters\": {}}; {\"name\": \"f\", \"parameters\": {}}"}},
    {"harmony",
     {"<|channel|>final<|message|>Hello",
      "<|channel|>analysis<|message|>Call to=functions.f?<|end|><|start|>assistant<|channel|>commentary to=functions.f "
      "<|constrain|>json<|message|>{\"s\": \"a\", \"n\": 1}",
      " to=functions.g<|channel|>commentary json<|message|>{\"a\": 1}"},
     {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}",
      " to=functions.f<|channel|>commentary<|message|>{\"s\": 1}", "<|channel|>commentary to=functions.h<|message|>{}",
      "<|channel|>analysis<|message|>x<|end|><|start|>assistant to=functions.f<|message|>{\"n\": 1}"}},
};

}  // namespace

TEST_CASE("strict tools hold a call to its schema, and nothing before and behind it") {
  const ThinkTags* think = find_think_tags("<think></think>");
  for (const Answers& answers : kAnswers) {
    AnswerFormat format;
    format.dialect = &dialect_called(answers.dialect);
    format.tools = kStrictTools;
    for (const bool spelled : {false, true}) {
      for (const std::string& text : answers.in) {
        INFO(answers.dialect << " should allow " << text);
        CHECK(may_be(format, {}, text, spelled));
      }
      for (const std::string& text : answers.out) {
        INFO(answers.dialect << " should not allow " << text);
        CHECK_FALSE(may_be(format, {}, text, spelled));
      }
    }
    if (format.dialect->channels) continue;
    // Behind reasoning, in which nothing is a call; and beside a schema for what is none.
    format.think = think;
    const constrain::ConstraintSpec schema{constrain::ConstraintSpec::Kind::kJsonSchema,
                                           R"({"type": "object", "required": ["q"]})",
                                           {},
                                           "response_format"};
    const std::string &good = answers.in[1], &bad = answers.out[1];
    for (const bool inside : {false, true}) {
      format.inside_think = inside;
      const std::string thought = std::string(inside ? "" : "<think>") + "Well: " + bad + "</think>\n\n";
      INFO(answers.dialect << " behind " << thought);
      CHECK(may_be(format, {}, thought + good, false));
      CHECK(may_be(format, {}, std::string(inside ? "" : "<think>") + "cut", false));
      CHECK_FALSE(may_be(format, {}, thought + bad, false));
      CHECK(may_be(format, schema, thought + "{\"q\": 1}", false));
      CHECK_FALSE(may_be(format, schema, thought + "Hello", false));
      CHECK_FALSE(may_be(format, schema, thought, false));
    }
  }
}

TEST_CASE("what a grammar lets through is read as calls that keep to their schemas") {
  for (const Answers& answers : kAnswers) {
    for (const std::string& text : answers.in) {
      const AnswerParserPtr parser = dialect_called(answers.dialect).parser(kStrictTools);
      AnswerEvents events;
      parser->push(text, events);
      parser->finish(events);
      for (const ToolCall& call : calls_of(events)) {
        INFO(answers.dialect << " " << text << " -> " << call.name << call.arguments);
        CHECK(has_tool(kStrictTools, call.name));
        const Json arguments = Json::parse(call.arguments);
        if (call.name != "f") continue;
        CHECK(arguments["s"].is_string());
        CHECK(arguments["n"].is_number_integer());
        CHECK((!arguments.contains("u") || arguments["u"] == "c" || arguments["u"].is_null()));
      }
    }
  }
}

TEST_CASE("a grammar for answers is made only where something asks for it") {
  AnswerFormat format;
  format.dialect = &dialect_called("hermes");
  format.tools = Json::parse(R"([{"type": "function", "function": {"name": "f", "strict": false}}])");
  CHECK_FALSE(answer_grammar(format, {}));
  format.tools = Json::parse(
      R"([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"properties": {"a": {"type": "string", "pattern": "x"}}}}}])");
  CHECK(answer_grammar(format, {}));
  format.dialect = &dialect_called("qwen_xml");
  CHECK_THROWS_WITH(answer_grammar(format, {}), Catch::Contains("'f'") && Catch::Contains("'pattern'"));

  // Python's arguments: those that must come first, then any of the others; what only an object can be held to is one.
  format.dialect = &dialect_called("lfm2");
  const auto calls = [&](const char* parameters, std::string_view text) {
    format.tools =
        Json::parse(std::string(R"([{"type": "function", "function": {"name": "f", "strict": true, "parameters": )") +
                    parameters + "}}]");
    return may_be(format, {}, "<|tool_call_start|>[" + std::string(text) + "]<|tool_call_end|>", false);
  };
  const char* mixed =
      R"({"properties": {"a": {"type": "boolean"}, "b": {"type": "string", "pattern": "^x+$"}, "c": {"type": "array",
      "items": {"type": "integer"}}}, "required": ["b"], "additionalProperties": false})";
  for (const char* text : {"f(b=\"x\")", "f(b=\"xx\", a=True)", "f(b=\"x\", c=[1, 2])", "f(b=\"x\", a=false, c=[])"})
    CHECK(calls(mixed, text));
  for (const char* text : {"f()", "f(a=True, b=\"x\")", "f(b=\"y\")", "f(b=\"x\", c=[True])", "f(b=\"x\", d=1)"})
    CHECK_FALSE(calls(mixed, text));
  const char* free = R"({"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "null"}}})";
  for (const char* text : {"f()", "f(a=1)", "f(b=1)", "f(a=1, c=None)", "f(a=1, b=2, c=null)", "f(c=None)"})
    CHECK(calls(free, text));
  for (const char* text : {"f(, a=1)", "f(b=1, a=1)", "f(a=1, )", "f(a=1 b=2)"}) CHECK_FALSE(calls(free, text));
  for (const char* only_object :
       {R"({"properties": {"a b": {}}})", R"({"minProperties": 1})", R"({"required": ["z"]})"})
    CHECK_FALSE(calls(only_object, "f()"));
  CHECK(calls(R"({"minProperties": 1})", R"({"name": "f", "arguments": {"a": 1}})"));
  format.dialect = &dialect_called("qwen_xml");

  // Values of XML are told apart as the parser does it.
  format.tools =
      Json::parse(R"([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"properties": {
      "a": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]}, "b": {"type": ["string", "null"], "enum": ["c"]},
      "d": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}}}])");
  const auto with = [](const char* key, const char* value) {
    return std::string("<function=f>\n<parameter=") + key + ">\n" + value + "\n</parameter>\n</function>";
  };
  for (const auto& [key, value] : {std::pair{"a", "x"}, {"a", "null"}, {"b", "c"}, {"d", "7"}, {"d", "null"}})
    CHECK(may_be(format, {}, with(key, value), false));
  for (const auto& [key, value] : {std::pair{"a", "z"}, {"b", "null"}, {"d", "x"}, {"d", "7.5"}})
    CHECK_FALSE(may_be(format, {}, with(key, value), false));
}

TEST_CASE("a forced call is a prefix and a grammar") {
  const ToolChoice named{ToolChoice::Kind::kNamed, "g"}, any{ToolChoice::Kind::kRequired, ""};
  const auto allows = [](const ForcedCall& call, std::string_view text) {
    constrain::Matcher matcher(constrain::Grammar::compile(forced_grammar({}, call, true), vocabulary_with({})));
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return matcher.accept(static_cast<unsigned char>(c)); }) &&
           matcher.finished();
  };
  const ForcedCall hermes = forced_call(dialect_called("hermes"), kStrictTools, named);
  CHECK(hermes.prefix == "<tool_call>\n");
  CHECK(allows(hermes, R"({"name": "g", "arguments": {"never": 1}})"));
  CHECK_FALSE(allows(hermes, R"({"name": "g", "arguments": {}})"));  // forced calls are held to their schema anyway
  CHECK_FALSE(allows(hermes, R"({"name": "f", "arguments": {"s": "", "n": 1}})"));
  CHECK(allows(forced_call(dialect_called("llama3"), kStrictTools, any),
               R"({"name": "f", "parameters": {"s": "", "n": 1}})"));
  for (const char* bare : {"qwen_xml", "seed_xml", "glm", "minimax_xml"})
    CHECK(forced_call(dialect_called(bare), kStrictTools, any).dialect->name == "hermes");
  CHECK(allows(forced_call(dialect_called("command"), kStrictTools, any),
               R"({"tool_name": "f", "parameters": {"s": "", "n": 1}})"));
  const ForcedCall harmony = forced_call(dialect_called("harmony"), kStrictTools, any);
  CHECK(harmony.prefix == "<|channel|>commentary to=functions.");
  CHECK(allows(harmony, R"(f <|constrain|>json<|message|>{"s": "", "n": 1})"));

  const ForcedCall deepseek = forced_call(dialect_called("deepseek"), kStrictTools, named);
  CHECK(deepseek.prefix == "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>");
  CHECK(allows(deepseek, "g\n```json\n{\"never\": 1}\n```"));
  CHECK_FALSE(allows(deepseek, "g\n```json\n{}\n```"));
  CHECK(allows(forced_call(dialect_called("deepseek_v31"), kStrictTools, named), "g<｜tool▁sep｜>{\"never\": 1}"));

  const ForcedCall kimi = forced_call(dialect_called("kimi"), kStrictTools, named);
  CHECK(kimi.prefix == "<|tool_calls_section_begin|><|tool_call_begin|>functions.");
  CHECK(allows(kimi, "g:0<|tool_call_argument_begin|>{\"never\": 1}"));
  CHECK_FALSE(allows(kimi, "g:0<|tool_call_argument_begin|>{}"));
  const ForcedCall lfm2 = forced_call(dialect_called("lfm2"), kStrictTools, any);
  CHECK(lfm2.prefix == "<|tool_call_start|>[");
  CHECK(allows(lfm2, "f(s=\"\", n=1)"));
  CHECK(allows(lfm2, R"({"name": "g", "arguments": {"never": 1}})"));
  CHECK_FALSE(allows(lfm2, R"({"name": "g", "arguments": {}})"));
  CHECK_FALSE(allows(lfm2, "f(s=\"\")"));
  CHECK_FALSE(allows(lfm2, "g()"));
  const ToolChoice first{ToolChoice::Kind::kNamed, "f"};
  for (const char* name : {"pythonic", "olmo3"}) {
    const ForcedCall python = forced_call(dialect_called(name), kStrictTools, first);
    CHECK(python.prefix == (name == std::string("olmo3") ? "<function_calls>" : "["));
    CHECK(allows(python, "f(s=\"\", n=1)"));
    CHECK_FALSE(allows(python, "f(s=\"\")"));
    CHECK_FALSE(allows(python, R"({"name": "f", "arguments": {"s": "", "n": 1}})"));
    CHECK_THROWS_WITH(forced_call(dialect_called(name), kStrictTools, named),  // asks for what has no schema
                      Catch::Contains("'g'") && Catch::Contains("calls as Python's"));
  }
  CHECK(forced_call(dialect_called("hunyuan"), kStrictTools, named).prefix == "<tool_calls>[");
  CHECK(allows(forced_call(dialect_called("nemotron"), kStrictTools, named),
               R"({"name": "g", "arguments": {"never": 1}})"));

  // What the model then writes is read as the call.
  const AnswerParserPtr parser = make_parser({hermes.dialect, nullptr, false, kStrictTools, ""});
  AnswerEvents events;
  parser->push(hermes.prefix, events);
  parser->push(R"({"name": "g", "arguments": {}})", events);
  parser->finish(events);
  CHECK(events == AnswerEvents{{AnswerEvent::Kind::kCall, "g"}, {AnswerEvent::Kind::kArguments, "{}"}});
}
