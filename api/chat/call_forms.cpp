#include "api/chat/call_forms.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/chat/block_calls.hpp"
#include "api/chat/python_calls.hpp"
#include "api/chat/xml_calls.hpp"
#include "core/base/error.hpp"

namespace nacelle::chat {

bool is_strict(const Json& tool) noexcept {
  const auto strict = tool.at("function").find("strict");
  return strict != tool.at("function").end() && *strict == true;
}

Json parameters_of(const Json& tool) {
  const auto parameters = tool.at("function").find("parameters");
  Json schema = parameters != tool.at("function").end() ? *parameters : Json::object();
  if (!schema.contains("type")) schema["type"] = "object";
  return schema;
}

Json mark(std::string_view text) { return {{"mark", text}}; }
Json one_of(Json parts) { return {{"one_of", std::move(parts)}}; }
Json any_tokens_until(Json marks) { return {{"until", std::move(marks)}, {"tokens", true}}; }

namespace {

// Whose arguments are held to their schemas.
enum class Held { kStrict, kAll };

Json regex(std::string_view pattern) { return {{"regex", pattern}}; }
Json list(std::initializer_list<Json> parts) { return Json::array_t(parts); }
Json repeat(Json part) { return {{"repeat", std::move(part)}}; }
const Json& space() {
  static const Json part = regex(" ?");
  return part;
}
const Json& line() {
  static const Json part = regex("[ \n]?");
  return part;
}

// As a regular expression that matches nothing else.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

const std::string& name_of(const Json& tool) { return tool.at("function").at("name").get_ref<const std::string&>(); }
// As alternatives of a regular expression.
std::string names_of(const Json& tools) {
  std::string names;
  for (const Json& tool : tools) names += (names.empty() ? "" : "|") + escaped(name_of(tool));
  return names;
}
std::string whose(const Json& tool) { return "the tool '" + name_of(tool) + "'"; }

Json held(const Json& tool, Json schema) {
  return {{"schema", std::move(schema)}, {"of", whose(tool)}, {"param", "tools"}};
}
Json arguments(const Json& tool, Held which) {
  if (which == Held::kStrict && !is_strict(tool)) return {{"schema", {{"type", "object"}}}};
  return held(tool, parameters_of(tool));
}

// `tail`: what may stand behind the arguments; `head`: before the name's member.
Json object_call(const Json& tools, const char* key, Held which, const Json& tail, std::string_view name = "name",
                 const Json& head = "") {
  Json calls = Json::array();
  for (const Json& tool : tools) {
    calls.push_back(list({fields::to_text(Json(name_of(tool))) + ",", space(), '"' + std::string(key) + "\":", space(),
                          arguments(tool, which), tail, "}"}));
  }
  return list({"{", head, '"' + std::string(name) + "\":", space(), one_of(std::move(calls))});
}

Json object_list(const Json& object) { return list({"[", object, repeat(list({",", space(), object})), "]"}); }

// Calls that stand in a text between marks.
Json answer_with(const Json& call, const Json& free, const Json& content) {
  if (content.is_null()) return list({free, repeat(list({call, free}))});
  return one_of(list({content, list({call, repeat(list({line(), call}))})}));
}

}  // namespace

Json object_call(const Json& tools, const char* key, std::string_view name) {
  return object_call(tools, key, Held::kAll, "", name);
}

Json hermes_answer(const Json& tools, const Json& content, std::string_view) {
  const Json call = list(
      {mark("<tool_call>"), line(), object_call(tools, "arguments", Held::kStrict, ""), line(), mark("</tool_call>")});
  return answer_with(call, any_tokens_until({"<tool_call>"}), content);
}

// A list of objects, or one name[ARGS]{...} behind each mark.
Json mistral_answer(const Json& tools, const Json& content, std::string_view) {
  const Json id = one_of(list({"", list({",", space(), "\"id\":", space(), regex("\"[a-zA-Z0-9]{9}\"")})}));
  const Json object = object_call(tools, "arguments", Held::kStrict, id);
  Json forms = list({object_list(object)});
  for (const Json& tool : tools) {
    forms.push_back(list({name_of(tool), one_of(list({"", list({mark("[CALL_ID]"), regex("[a-zA-Z0-9]{9}")})})),
                          one_of(list({"", mark("[ARGS]")})), arguments(tool, Held::kStrict)}));
  }
  const Json call = list({mark("[TOOL_CALLS]"), space(), one_of(std::move(forms))});
  return answer_with(call, any_tokens_until({"[TOOL_CALLS]"}), content);
}

// A list of objects between two marks.
Json list_answer(const char* open, const char* close, const Json& tools, const Json& content) {
  const Json object = object_call(tools, "arguments", Held::kStrict, "");
  return answer_with(list({mark(open), object_list(object), mark(close)}), any_tokens_until({open}), content);
}
Json nemotron_answer(const Json& tools, const Json& content, std::string_view) {
  return list_answer("<TOOLCALL>", "</TOOLCALL>", tools, content);
}
Json hunyuan_answer(const Json& tools, const Json& content, std::string_view) {
  return list_answer("<tool_calls>", "</tool_calls>", tools, content);
}

// A list of objects that are numbered, or are not.
Json command_answer(const Json& tools, const Json& content, std::string_view) {
  const Json blank = regex("\\s*"), id = one_of(list({"", regex("\"tool_call_id\": ?\"[0-9]{1,6}\", ?")}));
  const Json object = object_call(tools, "parameters", Held::kStrict, "", "tool_name", id);
  const Json call = list({mark("<|START_ACTION|>"), blank, "[", blank, object, repeat(list({",", blank, object})),
                          blank, "]", blank, mark("<|END_ACTION|>")});
  return answer_with(call, any_tokens_until({"<|START_ACTION|>"}), content);
}

// A call may begin the answer, or follow another, without a mark: an object is one from the moment it names a tool.
Json llama3_answer(const Json& tools, const Json& content, std::string_view think) {
  constexpr std::string_view kTag = "<|python_tag|>";
  const Json call = object_call(tools, "parameters", Held::kStrict, "");
  const Json blank = regex("\\s*"), next = list({regex("\\s*[;,]?\\s*"), call});
  if (!content.is_null()) return one_of(list({content, list({one_of(list({"", mark(kTag)})), call, repeat(next)})}));
  const std::string names = names_of(tools);
  const std::string string = "\\s*:\\s*\"[^\"\\\\]*\"\\s*,\\s*";
  const std::string head = "\\{\\s*(\"(id|type)\"" + string + ")*((\"(id|type|name)\"" + string +
                           ")*\"name\"\\s*:\\s*\"(" + names + ")\"|\"(parameters|arguments|function)\")";
  const auto free = [&](const std::string& unlike) {
    Json text = any_tokens_until({kTag});
    text["unlike"] = unlike;
    return text;
  };
  const std::string call_first = "\\s*" + head;
  const Json first = free(think.empty() ? call_first : call_first + "|\\s*" + escaped(think));
  const Json behind = free("\\s*[;,]?\\s*" + head);
  const Json tagged = list({mark(kTag), blank, call});
  const Json more = list({repeat(one_of(list({next, list({behind, tagged})}))), behind});
  return one_of(list({first, list({blank, call, more}), list({first, tagged, more})}));
}

// ---- Bare values: Qwen's XML, Seed's, MiniMax's and GLM's

namespace {

[[noreturn]] void refuse_xml(const Json& tool, const std::string& what) {
  throw Error(ErrorKind::kUnsupported,
              whose(tool) + " is strict, and this model writes calls as XML, in which " + what +
                  " cannot be enforced; leave it out, or 'strict'",
              "tools");
}

// A parameter's value as xml_calls.hpp reads it: bare text where the schema allows a string, else JSON.
Json value_form(const Json& tool, const Json& root, const Json& schema, std::string_view end, int depth = 0) {
  const Json& found = resolved(root, schema);
  const unsigned kinds = value_kinds(root, found);
  if (kinds != 0 && (kinds & kTextValue) == 0) {
    Json document = found;
    for (const char* key : {"$defs", "definitions"})
      if (root.contains(key)) document[key] = root[key];
    return held(tool, std::move(document));
  }
  Json any_text = {{"until", {end}}};
  if (!found.is_object()) return any_text;
  for (const char* key : {"pattern", "format", "minLength", "maxLength", "allOf", "not", "if"})
    if (found.contains(key)) refuse_xml(tool, '\'' + std::string(key) + "' of a text");
  std::string choice;
  for (const char* key : {"const", "enum", "anyOf", "oneOf"}) {
    if (!found.contains(key)) continue;
    if (!choice.empty() || depth > 8) refuse_xml(tool, '\'' + std::string(key) + "' among other choices");
    choice = key;
  }
  if (choice.empty()) return any_text;
  const bool branches = choice == "anyOf" || choice == "oneOf";
  Json choices = Json::array();
  for (const Json& one : choice == "const" ? Json::array({found["const"]}) : found[choice]) {
    if (branches ? (value_kinds(root, one) & kNullValue) != 0 : one.is_null()) choices.push_back("null");
    if (branches && (value_kinds(root, one) & kTextValue))
      choices.push_back(value_form(tool, root, one, end, depth + 1));
    if (!branches && one.is_string()) choices.push_back(one);
  }
  return one_of(std::move(choices));
}

// What stands before a value, behind its name, and behind it; `end` is the mark that no text has.
struct ParameterForm {
  Json before, behind_name, behind;
  std::string_view end;
};

// One that asks of an object more than its properties do.
std::optional<std::string> keyword_beside_properties(const Json& root) {
  static constexpr std::string_view kKnown[] = {"type",   "properties",  "required",    "additionalProperties",
                                                "$defs",  "definitions", "description", "title",
                                                "$schema"};
  for (const auto& [key, value] : root.items())
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) return key;
  return std::nullopt;
}

// The parameters of a strict tool, in the schema's order.
Json bare_parameters(const Json& tool, const ParameterForm& form) {
  const Json root = parameters_of(tool);
  if (const auto key = keyword_beside_properties(root)) refuse_xml(tool, '\'' + *key + '\'');
  const Json properties = root.value("properties", Json::object()), required = root.value("required", Json::array());
  Json parts = Json::array();
  for (const auto& [key, schema] : properties.items()) {
    Json parameter = list({form.before, key, form.behind_name, value_form(tool, root, schema, form.end), form.behind});
    const bool must = std::find(required.begin(), required.end(), Json(key)) != required.end();
    parts.push_back(must ? std::move(parameter) : one_of(list({"", std::move(parameter)})));
  }
  for (const Json& name : required)
    if (!name.is_string() || !properties.contains(name.get<std::string>()))
      refuse_xml(tool, "a required name that is not among the properties");
  return parts;
}

}  // namespace

namespace {

Json functions_answer(const Json& tools, const Json& content, const XmlMarks& marks, const ParameterForm& form) {
  Json functions = Json::array();
  for (const Json& tool : tools) {
    Json parameters =
        is_strict(tool) ? list({"\n", bare_parameters(tool, form)}) : Json{{"until", {marks.function_end}}};
    functions.push_back(list({std::string(marks.function) + name_of(tool) + std::string(marks.name_end),
                              std::move(parameters), marks.function_end}));
  }
  const Json function = one_of(std::move(functions)), more = repeat(list({line(), function}));
  const Json call =
      one_of(list({list({mark(marks.open), line(), function, more, line(), mark(marks.close)}), function}));
  return answer_with(call, any_tokens_until({marks.open, marks.function}), content);
}

}  // namespace

Json xml_answer(const Json& tools, const Json& content, std::string_view) {
  return functions_answer(tools, content, kQwenMarks, {"<parameter=", ">\n", "\n</parameter>\n", "</parameter>"});
}

Json seed_answer(const Json& tools, const Json& content, std::string_view) {
  return functions_answer(tools, content, kSeedMarks, {"<parameter=", ">", "</parameter>\n", "</parameter>"});
}

Json minimax_answer(const Json& tools, const Json& content, std::string_view) {
  return functions_answer(tools, content, kMiniMaxMarks,
                          {"<parameter name=\"", "\">", "</parameter>\n", "</parameter>"});
}

Json glm_answer(const Json& tools, const Json& content, std::string_view) {
  const std::string_view end = "</arg_value>";
  const Json key = mark("<arg_key>"), to_value = list({mark("</arg_key>"), line(), mark("<arg_value>")});
  const Json behind = list({mark(end), line()}), any_key = {{"until", {"</arg_key>"}}},
             any_value = any_tokens_until({end});
  const Json any = repeat(list({key, any_key, to_value, any_value, behind}));
  Json calls = Json::array();
  for (const Json& tool : tools)
    calls.push_back(
        list({name_of(tool), line(), is_strict(tool) ? bare_parameters(tool, {key, to_value, behind, end}) : any}));
  const Json call = list({mark("<tool_call>"), line(), one_of(std::move(calls)), mark("</tool_call>")});
  return answer_with(call, any_tokens_until({"<tool_call>"}), content);
}

// ---- DeepSeek and Kimi: a block of calls

namespace {

// `fenced`: as V3 and R1 write them.
Json deepseek_calls(const Json& tools, Held which, bool fenced) {
  Json calls = Json::array();
  for (const Json& tool : tools) {
    Json given = arguments(tool, which);
    calls.push_back(fenced ? list({name_of(tool), "\n```json\n", std::move(given), "\n```"})
                           : list({name_of(tool), mark(kDeepSeekMarks.separator), std::move(given)}));
  }
  return one_of(std::move(calls));
}

// Behind "functions.".
Json kimi_calls(const Json& tools, Held which) {
  Json calls = Json::array();
  for (const Json& tool : tools)
    calls.push_back(
        list({name_of(tool), ":", regex("[0-9]{1,4}"), mark(kKimiMarks.separator), arguments(tool, which)}));
  return one_of(std::move(calls));
}

// `call` stands between the marks of one.
Json block_answer(const BlockMarks& marks, const Json& call, const Json& content) {
  const Json marked = list({mark(marks.call), call, mark(marks.call_end)});
  const Json block = list({mark(marks.calls), marked, repeat(list({line(), marked})), line(), mark(marks.calls_end)});
  return answer_with(block, any_tokens_until(Json::array({marks.calls})), content);
}

}  // namespace

Json deepseek_call(const Json& tools) { return deepseek_calls(tools, Held::kAll, true); }
Json deepseek_v31_call(const Json& tools) { return deepseek_calls(tools, Held::kAll, false); }
Json kimi_call(const Json& tools) { return kimi_calls(tools, Held::kAll); }

Json deepseek_answer(const Json& tools, const Json& content, std::string_view) {
  const Json call = list({"function", mark(kDeepSeekMarks.separator), deepseek_calls(tools, Held::kStrict, true)});
  return block_answer(kDeepSeekMarks, call, content);
}
Json deepseek_v31_answer(const Json& tools, const Json& content, std::string_view) {
  return block_answer(kDeepSeekMarks, deepseek_calls(tools, Held::kStrict, false), content);
}
Json kimi_answer(const Json& tools, const Json& content, std::string_view) {
  return block_answer(kKimiMarks, list({"functions.", kimi_calls(tools, Held::kStrict)}), content);
}

// ---- Python's calls: LFM2's list of them, or of objects, OLMo 3's lines, and Llama 4's list without marks

namespace {

bool is_identifier(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

// A literal that the schema allows: JSON is one but for three words, which Python writes with a capital.
Json python_value(const Json& tool, const Json& root, const Json& schema) {
  Json document = resolved(root, schema);
  if (document.is_object())
    for (const char* key : {"$defs", "definitions"})
      if (root.contains(key)) document[key] = root[key];
  const Json type = document.is_object() ? document.value("type", Json()) : Json();
  const auto is = [&](const char* name) {
    return type == name || (type.is_array() && std::find(type.begin(), type.end(), Json(name)) != type.end());
  };
  Json forms = Json::array({held(tool, document)});
  if (type == "boolean" && !document.contains("enum") && !document.contains("const"))
    forms.insert(forms.end(), {"True", "False"});
  if (is("null")) forms.push_back("None");
  return one_of(std::move(forms));
}

// NAME=VALUE, ...: those that are required, and behind them the others, each in the schema's order. nullopt where the
// schema asks for what this form cannot hold to: an object can.
std::optional<Json> python_parameters(const Json& tool) {
  const Json root = parameters_of(tool);
  const Json properties = root.value("properties", Json::object()), required = root.value("required", Json::array());
  const auto is_required = [&](const std::string& name) {
    return std::find(required.begin(), required.end(), Json(name)) != required.end();
  };
  if (keyword_beside_properties(root)) return std::nullopt;
  for (const Json& name : required)
    if (!name.is_string() || !properties.contains(name.get<std::string>())) return std::nullopt;
  Json musts = Json::array(), mays = Json::array();
  for (const auto& [name, schema] : properties.items()) {
    if (!is_identifier(name)) return std::nullopt;
    (is_required(name) ? musts : mays).push_back(list({name + "=", python_value(tool, root, schema)}));
  }
  const auto behind = [](const Json& parameter) { return list({", ", parameter}); };
  const auto maybe_from = [&](std::size_t first) {
    Json parts = Json::array();
    for (std::size_t i = first; i < mays.size(); ++i) parts.push_back(one_of(list({"", behind(mays[i])})));
    return parts;
  };
  if (!musts.empty()) {
    Json parts = Json::array({musts[0]});
    for (std::size_t i = 1; i < musts.size(); ++i) parts.push_back(behind(musts[i]));
    parts.push_back(maybe_from(0));
    return parts;
  }
  Json firsts = Json::array({""});
  for (std::size_t i = 0; i < mays.size(); ++i) firsts.push_back(list({mays[i], maybe_from(i + 1)}));
  return one_of(std::move(firsts));
}

// One call. Where there are no `objects`, a schema that this form cannot be held to is refused.
Json python_calls(const Json& tools, Held which, bool objects) {
  const Json any = regex(R"(([^()'"]|'([^'\\]|\\.)*'|"([^"\\]|\\.)*")*)");
  Json forms = objects ? Json::array({object_call(tools, "arguments", which, "")}) : Json::array();
  for (const Json& tool : tools) {
    const bool is_held = which == Held::kAll || is_strict(tool);
    if (auto given = is_held ? python_parameters(tool) : any)
      forms.push_back(list({name_of(tool) + "(", std::move(*given), ")"}));
    else if (!objects)
      throw Error(ErrorKind::kUnsupported,
                  whose(tool) +
                      " must be called as its schema asks, and this model writes calls as Python's, in which "
                      "only 'properties' and 'required', with names of letters and digits, can be enforced",
                  "tools");
  }
  return one_of(std::move(forms));
}

}  // namespace

Json lfm2_call(const Json& tools) { return python_calls(tools, Held::kAll, true); }
Json python_call(const Json& tools) { return python_calls(tools, Held::kAll, false); }

Json lfm2_answer(const Json& tools, const Json& content, std::string_view) {
  const Json call =
      list({mark(kLfm2Style.open), object_list(python_calls(tools, Held::kStrict, true)), mark(kLfm2Style.close)});
  return answer_with(call, any_tokens_until(Json::array({kLfm2Style.open})), content);
}

Json olmo3_answer(const Json& tools, const Json& content, std::string_view) {
  const Json call = python_calls(tools, Held::kStrict, false), gap = regex("\n?");
  const Json calls =
      list({mark(kOlmo3Style.open), gap, call, repeat(list({"\n", call})), gap, mark(kOlmo3Style.close)});
  return answer_with(calls, any_tokens_until(Json::array({kOlmo3Style.open})), content);
}

// A list that begins the answer is one of calls from the moment that it names a tool.
Json pythonic_answer(const Json& tools, const Json& content, std::string_view think) {
  const Json calls = object_list(python_calls(tools, Held::kStrict, false)), blank = regex("\\s*");
  const Json marked = list({mark(kLlama4Style.open), calls, one_of(list({"", mark(kLlama4Style.close)}))});
  if (!content.is_null()) return one_of(list({content, calls, marked}));
  const Json free = any_tokens_until(Json::array({kLlama4Style.open}));
  const std::string call_first = "\\s*\\[\\s*(" + names_of(tools) + ")\\s*\\(";
  Json first = free;
  first["unlike"] = think.empty() ? call_first : call_first + "|\\s*" + escaped(think);
  const Json more = list({free, repeat(list({marked, free}))});
  return one_of(list({first, list({first, marked, more}), list({blank, calls, more})}));
}

// ---- Harmony: an answer is messages, each with a header that may name who it is for

Json harmony_call(const Json& tools) {
  Json calls = Json::array();
  for (const Json& tool : tools)
    calls.push_back(
        list({name_of(tool), " ", mark("<|constrain|>"), "json", mark("<|message|>"), arguments(tool, Held::kAll)}));
  return one_of(std::move(calls));
}

Json harmony_answer(const Json& tools, const Json& content, std::string_view) {
  if (!content.is_null()) return nullptr;
  const Json ends = {"<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"};
  Json end = Json::array();
  for (const Json& one : ends) end.push_back(mark(one.get<std::string>()));
  const Json header = any_tokens_until({"<|message|>", "to="}), rest = any_tokens_until({"<|message|>"});
  const Json behind_name = one_of(list(
      {"", list({regex("[ \n\t]"), rest}), list({mark("<|channel|>"), rest}), list({mark("<|constrain|>"), rest})}));
  Json calls = Json::array();
  for (const Json& tool : tools)
    calls.push_back(list({name_of(tool), behind_name, mark("<|message|>"), arguments(tool, Held::kStrict)}));
  const Json message = one_of(list({list({header, mark("<|message|>"), any_tokens_until(ends)}),
                                    list({header, "to=functions.", one_of(std::move(calls))})}));
  return list({message, repeat(list({one_of(end), message})), one_of(list({"", one_of(end)}))});
}

}  // namespace nacelle::chat
