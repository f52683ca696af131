// The table of dialects: which template is which, and how a call is forced.
#include "api/chat/dialects.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

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
  CHECK(find_think_tags("<think>") == nullptr);
}

TEST_CASE("a forced call is a prefix and a schema") {
  const Json tools = Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
                                     {"type": "function", "function": {"name": "g"}}])");
  const ToolChoice named{ToolChoice::Kind::kNamed, "g"}, any{ToolChoice::Kind::kRequired, ""};
  const auto hermes = forced_call(dialect_called("hermes"), tools, named);
  REQUIRE(hermes);
  CHECK(hermes->prefix == "<tool_call>\n");
  CHECK(hermes->schema["properties"]["name"] == Json::parse(R"({"const": "g"})"));
  CHECK(hermes->schema["required"] == Json::parse(R"(["name", "arguments"])"));
  CHECK(forced_call(dialect_called("llama3"), tools, any)->schema["anyOf"][0]["properties"].contains("parameters"));
  CHECK(forced_call(dialect_called("qwen_xml"), tools, any)->dialect->name == "hermes");
  CHECK_FALSE(forced_call(dialect_called("harmony"), tools, any));
  CHECK(forced_call(dialect_called("harmony"), tools, named)->prefix ==
        "<|channel|>commentary to=functions.g <|constrain|>json<|message|>");

  // What the model then writes is read as the call.
  const AnswerParserPtr parser = make_parser({hermes->dialect, nullptr, false, tools, ""});
  AnswerEvents events;
  parser->push(hermes->prefix, events);
  parser->push(R"({"name": "g", "arguments": {}})", events);
  parser->finish(events);
  CHECK(events == AnswerEvents{{AnswerEvent::Kind::kCall, "g"}, {AnswerEvent::Kind::kArguments, "{}"}});
}
