// Conversations: what is accepted, what a template gets, what is refused and how it is named.
#include <catch2/catch.hpp>

#include "api/openai/request.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using namespace nacelle::openai;
using test::failure_of;

namespace {

std::string normalised(const char* messages) { return to_text(normalise_messages(parse_json(messages))); }

}  // namespace

TEST_CASE("messages take the form that templates expect") {
  CHECK(normalised(R"([{"role": "user", "content": "Hi"}])") == R"([{"role":"user","content":"Hi"}])");
  CHECK(normalised(R"([{"content": "Be short.", "role": "developer"}])") ==
        R"([{"role":"system","content":"Be short."}])");
  CHECK(
      normalised(R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])") ==
      R"([{"role":"user","content":"ab"}])");
  CHECK(normalised(R"([{"role": "assistant", "content": "x", "reasoning_content": "y"}])") ==
        R"([{"role":"assistant","content":"x","reasoning_content":"y"}])");
  CHECK(normalised(R"([{"role": "tool", "content": "5", "tool_call_id": "c1"}])") ==
        R"([{"role":"tool","content":"5","tool_call_id":"c1"}])");
  // As a client sends back what it was given.
  CHECK(normalised(R"([{"role": "assistant", "content": "x", "refusal": null, "annotations": [], "audio": null}])") ==
        R"([{"role":"assistant","content":"x"}])");
}

TEST_CASE("what clients put beside a text: hints for caches, and the members of an answer") {
  CHECK(
      normalised(R"([{"role": "user", "cache_control": {"type": "ephemeral"}, "content": [{"type": "text", "text": "a",
      "cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"mode": "explicit"}}]}])") ==
      R"([{"role":"user","content":"a"}])");
  CHECK(normalised(R"([{"role": "assistant", "content": [{"type": "text", "text": "x", "role": "assistant",
      "refusal": null, "annotations": [], "audio": null, "reasoning_content": "y", "tool_calls": []}]}])") ==
        R"([{"role":"assistant","content":"x","reasoning_content":"y"}])");
  CHECK(to_text(check_tools(parse_json(
            R"([{"type": "function", "cache_control": {"type": "ephemeral"}, "function": {"name": "f"}}])"))) ==
        R"([{"type":"function","function":{"name":"f"}}])");
}

TEST_CASE("arguments of tool calls become objects where they are JSON") {
  const auto call = [](const std::string& arguments) {
    return normalised(
        (R"([{"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function":
                       {"name": "f", "arguments": )" +
         arguments + "}}]}]")
            .c_str());
  };
  CHECK(call(R"("{\"city\": \"Oslo\"}")").find(R"("arguments":{"city":"Oslo"})") != std::string::npos);
  CHECK(call(R"("not json")").find(R"("arguments":"not json")") != std::string::npos);
  CHECK(call(R"({"a": 1})").find(R"("arguments":{"a":1})") != std::string::npos);
}

TEST_CASE("a wrong message is named by its path") {
  struct Case {
    const char* messages;
    const char* param;
    const char* code;
  };
  const Case cases[] = {
      {R"("Hi")", "messages", "invalid_value"},
      {R"([])", "messages", "invalid_value"},
      {R"(["Hi"])", "messages[0]", "invalid_value"},
      {R"([{"content": "x"}])", "messages[0].role", "missing_required_parameter"},
      {R"([{"role": "robot", "content": "x"}])", "messages[0].role", "invalid_value"},
      {R"([{"role": "user"}])", "messages[0].content", "missing_required_parameter"},
      {R"([{"role": "user", "content": null}])", "messages[0].content", "missing_required_parameter"},
      {R"([{"role": "user", "content": 5}])", "messages[0].content", "invalid_value"},
      {R"([{"role": "user", "content": "x"}, {"role": "user", "content": "x", "colour": 1}])", "messages[1].colour",
       "unknown_parameter"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}])",
       "messages[0].content[0].type", "unsupported_parameter"},
      {R"([{"role": "user", "content": [{"type": "text"}]}])", "messages[0].content[0].text",
       "missing_required_parameter"},
      {R"([{"role": "user", "content": "x", "tool_calls": [{"type": "function", "function": {"name": "f"}}]}])",
       "messages[0].tool_calls", "invalid_value"},
      {R"([{"role": "assistant", "content": "x", "tool_calls": [{"type": "function", "function": {}}]}])",
       "messages[0].tool_calls[0].function.name", "missing_required_parameter"},
      {R"([{"role": "assistant", "content": "x", "tool_calls": [{"type": "custom"}]}])",
       "messages[0].tool_calls[0].type", "unsupported_parameter"},
  };
  for (const Case& c : cases) {
    INFO(c.messages);
    const auto failure = failure_of([&] { normalise_messages(parse_json(c.messages)); });
    CHECK(failure.status == 400);
    CHECK(failure.param == c.param);
    CHECK(failure.code == c.code);
  }
}

TEST_CASE("tools are checked and kept as they are") {
  const Json tools = parse_json(R"([{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}])");
  CHECK(check_tools(tools) == tools);
  CHECK(check_tools(Json::array()).is_null());
  CHECK(failure_of([] { check_tools(parse_json(R"([{"type": "function"}])")); }).param == "tools[0].function");
  CHECK(failure_of([] { check_tools(parse_json(R"([{"type": "function", "function": null}])")); }).param ==
        "tools[0].function");
  CHECK(failure_of([] { check_tools(parse_json(R"([{"type": "function", "function": {"name": null}}])")); }).param ==
        "tools[0].function.name");
  CHECK(failure_of([] { check_tools(parse_json(R"([{"type": "function", "function": {"name": ""}}])")); }).message ==
        "'tools[0].function.name' must be a string that is not empty, not \"\"");
  CHECK(failure_of([] { check_tools(parse_json(R"([{"type": "custom", "function": {"name": "f"}}])")); }).param ==
        "tools[0].type");
}
