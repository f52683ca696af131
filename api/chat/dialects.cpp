#include "api/chat/dialects.hpp"

#include <algorithm>
#include <utility>

#include "api/chat/harmony.hpp"
#include "api/chat/json_calls.hpp"
#include "api/chat/xml_calls.hpp"

namespace nacelle::chat {
namespace {

AnswerParserPtr hermes(const Json& tools) {
  return make_json_call_parser({.open = "<tool_call>", .close = "</tool_call>"}, tools);
}
AnswerParserPtr mistral(const Json& tools) {
  return make_json_call_parser({.open = "[TOOL_CALLS]", .close = "", .list = true}, tools);
}
AnswerParserPtr llama3(const Json& tools) {
  return make_json_call_parser({.open = "<|python_tag|>", .close = "", .bare = true}, tools);
}
AnswerParserPtr harmony(const Json&) { return make_harmony_parser(); }

constexpr std::string_view kHermes = "hermes", kQwenXml = "qwen_xml";

// Templates of the first speak of <tool_call> too, so the order matters.
constexpr Dialect kDialects[] = {
    {.name = "harmony",
     .signs = {"<|channel|>", "<|message|>"},
     .shown = {"<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"},
     .channels = true,
     .parser = harmony,
     .forced_prefix = "<|channel|>commentary to=functions.",
     .parameters_key = false},
    {.name = kQwenXml,
     .signs = {"<function=", "<parameter="},
     .shown = {"<tool_call>", "</tool_call>"},
     .parser = make_xml_call_parser,
     .forced_prefix = "",
     .parameters_key = false},
    {.name = kHermes,
     .signs = {"<tool_call>", "</tool_call>"},
     .shown = {"<tool_call>", "</tool_call>"},
     .parser = hermes,
     .forced_prefix = "<tool_call>\n",
     .parameters_key = false},
    {.name = "mistral",
     .signs = {"[TOOL_CALLS]", "[AVAILABLE_TOOLS]"},
     .shown = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
     .short_ids = true,
     .parser = mistral,
     .forced_prefix = "[TOOL_CALLS][",
     .parameters_key = false},
    {.name = "llama3",
     .signs = {"ipython", "\"parameters\": "},
     .shown = {"<|python_tag|>"},
     .parser = llama3,
     .forced_prefix = "",
     .parameters_key = true},
};

const Dialect* find(std::string_view name) {
  return std::find_if(std::begin(kDialects), std::end(kDialects), [name](const Dialect& d) { return d.name == name; });
}

class PlainParser final : public AnswerParser {
 public:
  void push(std::string_view text, AnswerEvents& out) override { add(out, AnswerEvent::Kind::kContent, text); }
  void finish(AnswerEvents&) override {}
};

Json parameters_of(const Json& tool) {
  const Json& function = tool.at("function");
  const auto parameters = function.find("parameters");
  return parameters != function.end() ? *parameters : Json{{"type", "object"}};
}

// {"name": one name, "arguments": its parameters}
Json call_schema(const Json& tool, const std::string& arguments_key) {
  return {{"type", "object"},
          {"properties", {{"name", {{"const", tool.at("function").at("name")}}}, {arguments_key, parameters_of(tool)}}},
          {"required", {"name", arguments_key}},
          {"additionalProperties", false}};
}

}  // namespace

std::span<const Dialect> dialects() noexcept { return kDialects; }

const Dialect* find_dialect(std::string_view chat_template) noexcept {
  const auto writes = [chat_template](const Dialect& dialect) {
    return std::all_of(std::begin(dialect.signs), std::end(dialect.signs), [chat_template](std::string_view sign) {
      return chat_template.find(sign) != std::string_view::npos;
    });
  };
  const auto found = std::find_if(std::begin(kDialects), std::end(kDialects), writes);
  return found == std::end(kDialects) ? nullptr : found;
}

AnswerParserPtr make_parser(const AnswerFormat& format) {
  AnswerParserPtr parser;
  if (format.dialect && (format.dialect->channels || !format.tools.is_null())) {
    parser = format.dialect->parser(format.tools);
  } else {
    parser = std::make_unique<PlainParser>();
  }
  if (format.think) parser = make_think_parser(*format.think, format.inside_think, std::move(parser));
  return parser;
}

std::optional<ForcedCall> forced_call(const Dialect& dialect, const Json& tools, const ToolChoice& choice) {
  std::vector<Json> allowed;
  for (const Json& tool : tools) {
    if (choice.kind != ToolChoice::Kind::kNamed || tool.at("function").at("name") == choice.name)
      allowed.push_back(tool);
  }
  if (allowed.empty()) return std::nullopt;
  if (dialect.channels) {
    if (allowed.size() > 1) return std::nullopt;
    const auto& name = allowed.front().at("function").at("name").get_ref<const std::string&>();
    return ForcedCall{std::string(dialect.forced_prefix) + name + " <|constrain|>json<|message|>",
                      parameters_of(allowed.front()), &dialect};
  }
  const std::string key = dialect.parameters_key ? "parameters" : "arguments";
  Json schemas = Json::array();
  for (const Json& tool : allowed) schemas.push_back(call_schema(tool, key));
  Json schema = schemas.size() == 1 ? schemas.front() : Json{{"anyOf", std::move(schemas)}};
  // XML has no schema: these models write Hermes's JSON as well.
  const Dialect& written = dialect.name == kQwenXml ? *find(kHermes) : dialect;
  return ForcedCall{std::string(written.forced_prefix), std::move(schema), &written};
}

}  // namespace nacelle::chat
