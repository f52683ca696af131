// Answers of every dialect, at every split of the text, sound and broken.
#include "api/chat/answer.hpp"

#include <catch2/catch.hpp>

#include "api/chat/dialects.hpp"

using namespace nacelle;
using namespace nacelle::chat;

namespace {

const Json kTools = Json::parse(R"([
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
        "n": {"type": "integer"}, "on": {"type": "boolean"}, "s": {"type": "string"}, "list": {"type": "array"}}}}},
    {"type": "function", "function": {"name": "g"}}])");

const Dialect* dialect(std::string_view name) {
  for (const Dialect& one : dialects()) {
    if (one.name == name) return &one;
  }
  FAIL(name);
  return nullptr;
}

// Events in one line: text, (reasoning), name[id]<arguments>.
std::string shown(const AnswerEvents& events) {
  std::string line;
  bool in_call = false;
  for (const AnswerEvent& event : events) {
    const bool arguments = event.kind == AnswerEvent::Kind::kArguments;
    if (in_call && !arguments) line += ">";
    switch (event.kind) {
      case AnswerEvent::Kind::kContent: line += event.text; break;
      case AnswerEvent::Kind::kReasoning: line += "(" + event.text + ")"; break;
      case AnswerEvent::Kind::kCall: line += event.text + (event.id.empty() ? "" : "[" + event.id + "]") + "<"; break;
      case AnswerEvent::Kind::kArguments: line += event.text; break;
    }
    in_call = arguments || event.kind == AnswerEvent::Kind::kCall;
  }
  return line + (in_call ? ">" : "");
}

void take(AnswerEvents& all, AnswerEvents&& some) {
  for (AnswerEvent& event : some) {
    if (event.kind == AnswerEvent::Kind::kCall) {
      all.push_back(std::move(event));
    } else {
      add(all, event.kind, event.text);
    }
  }
}

std::string parsed(const AnswerFormat& format, const std::vector<std::string_view>& pieces) {
  const AnswerParserPtr parser = make_parser(format);
  AnswerEvents all;
  for (const std::string_view piece : pieces) {
    AnswerEvents some;
    parser->push(piece, some);
    take(all, std::move(some));
  }
  AnswerEvents some;
  parser->finish(some);
  take(all, std::move(some));
  return shown(all);
}

void check(const AnswerFormat& format, std::string_view text, const std::string& expected) {
  INFO(text);
  CHECK(parsed(format, {text}) == expected);
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    const std::string got = parsed(format, {text.substr(0, cut), text.substr(cut)});
    if (got != expected) FAIL("cut at " << cut << ": " << got);
  }
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  CHECK(parsed(format, bytes) == expected);
}

void check(std::string_view name, std::string_view text, const std::string& expected) {
  AnswerFormat format;
  format.dialect = dialect(name);
  format.tools = kTools;
  check(format, text, expected);
}

// Broken text must come back as it was.
void check_content(std::string_view name, std::string_view text) { check(name, text, std::string(text)); }

}  // namespace

TEST_CASE("Hermes calls") {
  check("hermes", "Hello  world.\n", "Hello  world.\n");
  check("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"}\\\"{\"}}\n</tool_call>",
        "f<{\"s\": \"}\\\"{\"}>");
  check("hermes",
        "Let me see.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
        "{\"name\": \"g\", \"arguments\": {\"a\": [1, {}]}}\n</tool_call>\n",
        "Let me see.f<{}>g<{\"a\": [1, {}]}>");
  check("hermes", "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", "f<{\"a\":1}>");
  check("hermes", "<tool_call>{\"id\": \"c1\", \"name\": \"f\", \"parameters\": {}, \"type\": \"x\"}</tool_call>",
        "f[c1]<{}>");
  check("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "f<{\"a\": 1}>");
  check("hermes", "<tool_call>{\"name\": \"f\"}</tool_call>", "f<{}>");
  check("hermes", "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {}}}</tool_call>",
        "f<{}>");
  check("hermes", "<tool_call>{\"name\": \"f\\u0041\", \"arguments\": {}}</tool_call> and so on", "fA<{}> and so on");
  // The closing tag forgotten; the end forgotten; cut off inside the arguments.
  check("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {}}\n<tool_call>{\"name\": \"g\", \"arguments\": {}}",
        "f<{}>g<{}>");
  check("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}", "f<{\"a\": 1}>");
  check("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x", "f<{\"a\": \"x>");
  check("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {}}} more", "f<{}>} more");
}

TEST_CASE("DeepSeek's calls, of V3 and R1 and of V3.1") {
  const std::string begin = "<｜tool▁calls▁begin｜>", end = "<｜tool▁calls▁end｜>", call = "<｜tool▁call▁begin｜>",
                    close = "<｜tool▁call▁end｜>", separator = "<｜tool▁sep｜>";
  const std::string fenced = call + "function" + separator + "f\n```json\n{\"s\": \"```}\"}\n```" + close;
  const std::string bare = call + "g" + separator + "{\"a\": [1, {}]}" + close;
  check("deepseek", "Hello.\n", "Hello.\n");
  check("deepseek", "Let me see.\n" + begin + fenced + "\n" + fenced + end,
        "Let me see.f<{\"s\": \"```}\"}>f<{\"s\": \"```}\"}>");
  check("deepseek_v31", begin + bare + bare + end + " Done", "g<{\"a\": [1, {}]}>g<{\"a\": [1, {}]}> Done");
  check("deepseek_v31", begin + fenced, "f<{\"s\": \"```}\"}>");  // the last marks forgotten
  check("deepseek", begin + call + "function" + separator + "f\n```json\n{\"a\": 1}\n```", "f<{\"a\": 1}>");
  check("deepseek", begin + call + "function" + separator + "f\n```json\n{\"a\": \"x", "f<{\"a\": \"x>");
  check("deepseek_v31", begin + call + "function" + separator + "{}" + close + end, "function<{}>");
  for (const std::string& text :
       {begin, "a " + begin + " b", begin + end, begin + call, begin + call + "f" + close + end,
        begin + call + "{}" + close, begin + call + separator + "{}" + close, std::string("<｜tool"),
        begin + call + "f" + separator})
    check_content("deepseek", text);
}

TEST_CASE("what is no Hermes call stays content") {
  for (const char* text :
       {"<tool_call>", " <tool_call> ", "<tool_call>no</tool_call>", "<tool_call>{\"name\": 5}</tool_call>",
        "<tool_call>{\"name\": \"f\", ", "a < b <tool", "<tool_call>{\"city\": {\"name\": \"f\"}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", "<tool_call>[]</tool_call>",
        "x <tool_call>{\"name\" \"f\"}</tool_call> y", "<tool_call>{broken", "{\"name\": \"f\", \"arguments\": {}}"}) {
    check_content("hermes", text);
  }
}

TEST_CASE("Llama 3 calls") {
  check("llama3", "{\"name\": \"f\", \"parameters\": {\"s\": \"x\"}}", "f<{\"s\": \"x\"}>");
  check("llama3", "\n<|python_tag|>{\"type\": \"function\", \"name\": \"g\", \"parameters\": {}}", "g<{}>");
  check("llama3",
        "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}\n{\"name\": \"f\", "
        "\"parameters\": {}}",
        "f<{}>g<{}>f<{}>");
  check("llama3", "{\"parameters\": {\"a\": 1}, \"name\": \"f\"}", "f<{\"a\":1}>");
  for (const char* text :
       {"{\"name\": \"Bob\", \"parameters\": {}}", "{\"city\": \"Oslo\"}", "{\"name\": \"f\"", "{", "{}", " plain",
        "See {\"name\": \"f\", \"parameters\": {}}", "<|python_tag|>print(1)", "{\"parameters\": 1, \"x\": {}} y"}) {
    check_content("llama3", text);
  }
}

TEST_CASE("Mistral calls") {
  check("mistral",
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}, {\"name\": \"g\", "
        "\"arguments\": {}}]",
        "f<{\"a\": 1}>g<{}>");
  check("mistral", "[TOOL_CALLS][{\"id\": \"abcdefghi\", \"name\": \"f\", \"arguments\": {}}]", "f[abcdefghi]<{}>");
  check("mistral", "Fine.[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}",
        "Fine.f<{\"a\": 1}>g[abcdefghi]<{}>");
  check("mistral", "[TOOL_CALLS]f{\"a\": 1}", "f<{\"a\": 1}>");
  for (const char* text :
       {"[TOOL_CALLS]", "[TOOL_CALLS] [", "[TOOL_CALLS] [1]", "[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f x", "[TOOL",
        "[1, 2] [TOOL_CALLS", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": "}) {
    check_content("mistral", text);
  }
}

TEST_CASE("Qwen's XML calls") {
  check("qwen_xml",
        "I look.\n<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n<parameter=s>\n5\nx\n</parameter>\n"
        "<parameter=on>\nTrue\n</parameter>\n<parameter=list>[1, \"a\"]</parameter>\n</function>\n</tool_call>",
        "I look.f<{\"n\": 5, \"s\": \"5\\nx\", \"on\": true, \"list\": [1,\"a\"]}>");
  check("qwen_xml",
        "<function=g>\n<parameter=x>\n7\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n"
        "</function></tool_call> end",
        "g<{\"x\": \"7\"}>g<{}> end");
  check("qwen_xml", "<tool_call>\n<function=f>\n<parameter=n>\nmany\n</parameter>", "f<{\"n\": \"many\">");
  check("qwen_xml", "<tool_call>\n<function=f>\n<parameter=s>\nab", "f<{\"s\": \"ab>");
  check("qwen_xml", "<tool_call>\n<function=f>\nso what", "f<{}>\nso what");
  for (const char* text : {"<tool_call>", "<tool_call>\n<function", "<tool_call>no", "<function=>", "<function=a\nb>",
                           "a <func b", "<tool_call><tool_cal", "<function=f"}) {
    check_content("qwen_xml", text);
  }
}

TEST_CASE("Command-R7B's calls and answers have marks") {
  check("command",
        "I look.<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"n\": 1}},\n"
        "    {\"tool_call_id\": \"1\", \"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>",
        "I look.f<{\"n\": 1}>g<{}>");
  check("command", "<|START_ACTION|>[{\"parameters\": {}, \"tool_name\": \"f\"}]<|END_ACTION|>", "f<{}>");
  check("command", "<|START_RESPONSE|>It is 7 <b>.<|END_RESPONSE|>", "It is 7 <b>.");
  for (const char* text : {"<|START_ACTION|>", "<|START_ACTION|>[1]", "<|START_", "a <|END", "<|START_ACTION|>no"})
    check_content("command", text);
  AnswerFormat format;
  format.dialect = dialect("command");
  format.think = find_think_tags("<|END_THINKING|>");
  check(format, "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>", "(Hm.)Yes.");
}

TEST_CASE("Seed's XML calls have marks of their own") {
  check("seed_xml",
        "I look.\n<seed:tool_call>\n<function=f>\n<parameter=n>5</parameter>\n<parameter=s>a\nb</parameter>\n"
        "</function>\n</seed:tool_call>",
        "I look.f<{\"n\": 5, \"s\": \"a\\nb\"}>");
  check("seed_xml", "<seed:tool_call>\n<function=g>\n</function>\n</seed:tool_call>\n", "g<{}>");
  for (const char* text : {"<seed:tool_call>", "<seed:tool", "<tool_call>\nno", "<seed:tool_call>no"})
    check_content("seed_xml", text);
}

TEST_CASE("Kimi-K2's calls have the name in their ids") {
  const std::string begin = "<|tool_calls_section_begin|>", end = "<|tool_calls_section_end|>",
                    call = "<|tool_call_begin|>", close = "<|tool_call_end|>",
                    separator = "<|tool_call_argument_begin|>";
  const std::string first = call + "functions.f:0" + separator + "{\"s\": \"}{\"}" + close;
  check("kimi", "I look.\n" + begin + first + call + "functions.g-2:11" + separator + "{\"a\": [1]}" + close + end,
        "I look.f[functions.f:0]<{\"s\": \"}{\"}>g-2[functions.g-2:11]<{\"a\": [1]}>");
  check("kimi", begin + "\n" + call + "\nfunctions.f:0" + separator + "\n{}\n" + close + "\n" + end + " Done",
        "f[functions.f:0]<{}> Done");
  check("kimi", begin + call + "f" + separator + "{}", "f[f]<{}>");
  check("kimi", begin + call + "functions.f:0" + separator + "{\"a\": \"x", "f[functions.f:0]<{\"a\": \"x>");
  for (const std::string& text : {begin, "a " + begin + " b", begin + end, begin + call + "functions.f:0" + close + end,
                                  begin + call + separator + "{}" + close, std::string("<|tool_calls")})
    check_content("kimi", text);
}

TEST_CASE("LFM2's calls are Python's, or objects") {
  const std::string begin = "<|tool_call_start|>", end = "<|tool_call_end|>";
  check("lfm2", "Hello [f(x=1)].\n", "Hello [f(x=1)].\n");
  check("lfm2", "I look.\n" + begin + "[f(s=\"Oslo\", n=3), g()]" + end + "Now I wait.",
        "I look.f<{\"s\": \"Oslo\", \"n\": 3}>g<{}>Now I wait.");
  check("lfm2",
        begin + "[f(s='it\\'s \\\"so\\\"\\n', on=True, list=[1, -2.5, 'a', None, (False,)], x={'a': {1: .5}})]" + end,
        "f<{\"s\": \"it's \\\"so\\\"\\n\", \"on\": true, \"list\": [1, -2.5, \"a\", null, [false]], \"x\": {\"a\": "
        "{\"1\": 0.5}}}>");
  check("lfm2", begin + "[ f( s = \"\"\"a\n\"b\" \"\"\" , n = 1_000, )\n]" + end,
        "f<{\"s\": \"a\\n\\\"b\\\" \", \"n\": 1000}>");
  check("lfm2", begin + R"([f(s="\u00e9\ud83d\ude42\x41\/" 'b', t='', u=celsius, v=true)])" + end,
        "f<{\"s\": \"é🙂A/b\", \"t\": \"\", \"u\": \"celsius\", \"v\": true}>");
  check("lfm2", begin + "[f(s=\")]<|tool_call_end|>\")]" + end, "f<{\"s\": \")]<|tool_call_end|>\"}>");
  check("lfm2",
        begin + "[{\"name\": \"f\", \"arguments\": {\"n\": 1}, \"id\": \"c\"}, {\"name\": \"g\", \"arguments\": {}}]" +
            end,
        "f<{\"n\": 1}>g<{}>");
  check("lfm2", begin + "{\"name\": \"f\", \"arguments\": {\"n\": 1}}" + end + " Wait.", "f<{\"n\": 1}> Wait.");
  // Cut off, and broken.
  check("lfm2", begin + "[f(s=\"ab", "f<{\"s\": \"ab>");
  check("lfm2", begin + "[f(n=1, list=[1, 'a", "f<{\"n\": 1, \"list\": [1, \"a>");
  check("lfm2", begin + "[f(n=12", "f<{\"n\": 12>");
  check("lfm2", begin + "[f(n=1)", "f<{\"n\": 1}>");
  check("lfm2", begin + "[f(n=1) and", "f<{\"n\": 1}> and");
  check("lfm2", begin + "[f(n=1, 5)]" + end, "f<{\"n\": 1}>, 5)]" + end);
  for (const std::string& text :
       {begin, begin + "[", begin + "[]" + end, begin + "no" + end, begin + "[f]" + end, begin + "[f x(n=1)]" + end,
        "a " + begin + " [ f", std::string("<|tool_call"), begin + "[{\"name\": 5}]" + end})
    check_content("lfm2", text);
}

TEST_CASE("a list of Python's calls may be the answer") {
  check("pythonic", "[f(s='San Francisco', n=3), g()]", "f<{\"s\": \"San Francisco\", \"n\": 3}>g<{}>");
  check("pythonic", "\n [ f ( s = \"]\" , list = ['a', None, True], ) ,\ng()]\nDone.",
        "f<{\"s\": \"]\", \"list\": [\"a\", null, true]}>g<{}>\nDone.");
  check("pythonic", "<|python_start|>[f(n=1)]<|python_end|>", "f<{\"n\": 1}>");
  check("pythonic", "I look. <|python_start|>[f(n=1)] and <|python_start|>[g()]<|python_end|> [f(n=2)]",
        "I look.f<{\"n\": 1}> andg<{}> [f(n=2)]");
  check("pythonic", "[f(n=1), h(x=2)]", "f<{\"n\": 1}>h<{\"x\": 2}>");  // behind a first call any name is one
  // Cut off, and broken.
  check("pythonic", "[f(s=\"ab", "f<{\"s\": \"ab>");
  check("pythonic", "[f(n=1)", "f<{\"n\": 1}>");
  check("pythonic", "[f(n=1) or", "f<{\"n\": 1}> or");
  check("pythonic", "[f(n=1, 5)]", "f<{\"n\": 1}>, 5)]");
  for (const char* text :
       {"[", " [", "[]", "[f", "[f]", "[f ", "[h(n=1)]", "[fg()]", "[1, 2]", "[\"f()\"]", "Hello [f(n=1)].\n", "f(n=1)",
        "<|python_start|>", "<|python_start|>f(n=1)", "<|python_start|>[{\"name\": \"f\"}]", "<|python", "  "})
    check_content("pythonic", text);
}

TEST_CASE("OLMo 3's calls are lines of Python") {
  const std::string begin = "<function_calls>", end = "</function_calls>";
  check("olmo3", "I look.\n" + begin + "f(s=\"Oslo\", n=3)\ng()" + end + "Now I wait.",
        "I look.f<{\"s\": \"Oslo\", \"n\": 3}>g<{}>Now I wait.");
  check("olmo3", begin + "\nf(on=true, list=[null, {\"a\": false}])\n" + end,
        "f<{\"on\": true, \"list\": [null, {\"a\": false}]}>");
  check("olmo3", begin + "f(s=\"" + end + "\")" + end, "f<{\"s\": \"</function_calls>\"}>");
  check("olmo3", begin + "g()" + end + "\n" + begin + "g()" + end, "g<{}>g<{}>");
  // Cut off, and broken.
  check("olmo3", begin + "f(s=\"ab", "f<{\"s\": \"ab>");
  check("olmo3", begin + "f(n=1)\n</function", "f<{\"n\": 1}>\n</function");
  check("olmo3", begin + "f(n=1); g()" + end, "f<{\"n\": 1}>; g()" + end);
  check("olmo3", begin + "f(n=1)\ng", "f<{\"n\": 1}>g");
  for (const std::string& text : {begin, begin + "\n", begin + end, begin + "no" + end, begin + "[f()]" + end,
                                  begin + "f x(n=1)", std::string("<function_"), std::string("f(n=1)\ng()")})
    check_content("olmo3", text);
}

TEST_CASE("Hunyuan's calls are a list") {
  check("hunyuan",
        "I look.\n<tool_calls>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": "
        "{}}]</tool_calls> Done",
        "I look.f<{\"n\": 1}>g<{}> Done");
  for (const char* text : {"<tool_calls>", "<tool_ca", "<tool_calls>[1]</tool_calls>", "<tool_calls>no</tool_calls>"})
    check_content("hunyuan", text);
}

TEST_CASE("MiniMax-M2's XML calls") {
  check(
      "minimax_xml",
      "I look.\n<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"n\">5</parameter>\n"
      "<parameter name=\"s\">a \"b\"\n<c></parameter>\n</invoke>\n<invoke name=\"g\">\n</invoke>\n</minimax:tool_call>",
      "I look.f<{\"n\": 5, \"s\": \"a \\\"b\\\"\\n<c>\"}>g<{}>");
  check("minimax_xml", "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">ab", "f<{\"s\": \"ab>");
  for (const char* text : {"<minimax:tool_call>", "<minimax:tool", "<invoke name=", "<invoke name=\"f\"",
                           "<invoke name=\"f>", "<minimax:tool_call>\n<invoke name=\"\">", "<function=f>\n</function>"})
    check_content("minimax_xml", text);
}

TEST_CASE("Nemotron's calls are a list") {
  check("nemotron",
        "I look.\n\n<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": "
        "{}}]</TOOLCALL>\n",
        "I look.f<{\"n\": 1}>g<{}>");
  check("nemotron", "<TOOLCALL>[{\"name\": \"f\", \"arguments\": \"{\\\"n\\\": 1}\"}]</TOOLCALL> Done",
        "f<{\"n\": 1}> Done");
  for (const char* text :
       {"<TOOLCALL>", "<TOOL", "<TOOLCALL>[1]</TOOLCALL>", "<TOOLCALL>no</TOOLCALL>", "<AVAILABLE_TOOLS>[]"})
    check_content("nemotron", text);
}

TEST_CASE("GLM's calls") {
  check("glm",
        "I look.\n<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n<arg_key>s</arg_key>\n"
        "<arg_value>5\nx</arg_value>\n<arg_key>on</arg_key>\n<arg_value>True</arg_value>\n<arg_key>list</arg_key>\n"
        "<arg_value>[1, \"a\"]</arg_value>\n</tool_call>",
        "I look.f<{\"n\": 5, \"s\": \"5\\nx\", \"on\": true, \"list\": [1,\"a\"]}>");
  check("glm", "<tool_call>g<arg_key>x</arg_key><arg_value>7</arg_value></tool_call>\n<tool_call>\ng\n</tool_call> end",
        "g<{\"x\": \"7\"}>g<{}> end");
  check("glm", "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>many</arg_value>", "f<{\"n\": \"many\">");
  check("glm", "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>ab", "f<{\"s\": \"ab>");
  check("glm", "<tool_call>f\n<arg_key>s</arg_key>\nso what", "f<{}><arg_key>s</arg_key>\nso what");
  check("glm", "<tool_call>f\n<arg_key>s</arg_k", "f<{>");
  for (const char* text : {"<tool_call>", "<tool_call>f", "<tool_call>f\n<arg", "<tool_call>no <b>", "<tool_call>\n\n",
                           "a <tool_cal b", "<tool_call></tool_call>", "<tool_call><arg_key>a</arg_key>"}) {
    check_content("glm", text);
  }
}

TEST_CASE("harmony's channels") {
  check("harmony", "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>final<|message|>Hi <b>.",
        "(Hm.\n)Hi <b>.");
  check("harmony",
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
        "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
        "(So.)f<{\"a\": 1}>");
  check("harmony", " to=functions.g<|channel|>commentary json<|message|>{}", "g<{}>");
  check("harmony", "<|channel|>commentary<|message|>First.<|end|>", "First.");
  check("harmony", "<|channel|>analysis<|message|>cut", "(cut)");
  for (const char* text : {"Plain text.", "<|channel|>analysis", "<|chan", "a <|x|> b"}) check_content("harmony", text);
}

TEST_CASE("reasoning is split off") {
  AnswerFormat format;
  format.think = find_think_tags("... </think> ...");
  REQUIRE(format.think);
  check(format, "<think>\nWell,\n so.\n</think>\n\nYes.\n", "(Well,\n so.)Yes.\n");
  check(format, "No <think> here </think>.", "No <think> here </think>.");
  check(format, "<think></think>Yes", "Yes");
  check(format, "<think>cut </thin", "(cut </thin)");
  check(format, "<thi", "<thi");
  format.inside_think = true;
  check(format, "Well.\n</think>\nYes.", "(Well.)Yes.");
  check(format, "<think>\nWell.</think>Yes.", "(Well.)Yes.");
  check(format, "never closed", "(never closed)");
  format.dialect = dialect("hermes");
  format.tools = kTools;
  check(format, "I call.\n</think>\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
        "(I call.)f<{}>");
}

TEST_CASE("tokens of the reasoning are counted, with those that a parser holds back") {
  AnswerFormat format;
  format.think = find_think_tags("... </think> ...");
  const AnswerParserPtr parser = make_parser(format);
  ReasoningCount count;
  const std::vector<std::string> tokens = {"<", "think", ">", "Well", ",", " so", ".", "</", "think>", "Yes", "."};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    AnswerEvents events;
    parser->push(tokens[i], events);
    if (i + 1 == tokens.size()) parser->finish(events);
    count.add(1, events, i + 1 == tokens.size());
  }
  CHECK(count.tokens() == 7);  // the tag that opens, and four words: what closes is held and comes with the content

  ReasoningCount none;
  none.add(3, {{AnswerEvent::Kind::kContent, "Hi"}}, false);
  none.add(1, {}, true);
  CHECK(none.tokens() == 0);
}

TEST_CASE("arguments come as they are written") {
  const AnswerParserPtr parser = make_parser({dialect("hermes"), nullptr, false, kTools, ""});
  AnswerEvents events;
  parser->push("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"a", events);
  CHECK(shown(events) == "f<{\"s\": \"a>");
  events.clear();
  parser->push("b", events);
  CHECK(events == AnswerEvents{{AnswerEvent::Kind::kArguments, "b"}});
}
