// Conversations: what OpenAI clients send, turned into what chat templates read.
#include <algorithm>
#include <array>
#include <optional>

#include "api/http/message.hpp"
#include "api/openai/names.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {
namespace {

struct Role {
  std::string_view name;
  std::string_view template_name;  // what templates know it as
  bool may_lack_content;           // an assistant that only called tools
};

constexpr Role kRoles[] = {
    {"system", "system", false},      {"developer", "system", false}, {"user", "user", false},
    {"assistant", "assistant", true}, {"tool", "tool", false},        {"function", "tool", false},
};

struct Content {
  std::string text;
  std::optional<std::string> reasoning;
};

Field<Content> ignored(std::string name) {
  return {std::move(name), [](Content&, const std::string&, const Json&) {}};
}

const Fields<Content>& part_fields() {
  static const Fields<Content> fields = {
      only<Content>("type", {"text"}), string<Content>("text", [](Content& c, const std::string& v) { c.text += v; }),
      // Hints for caches: prefixes are cached anyway.
      no_effect<Content>("cache_control", Json::value_t::object),
      no_effect<Content>("prompt_cache_breakpoint", Json::value_t::object),
      // OpenAI's agents for JavaScript send the members of our message back in its part.
      only<Content>("role", {"assistant"}),
      string<Content>("reasoning_content", [](Content& c, const std::string& v) { c.reasoning = v; }),
      only<Content>("refusal", {}), only<Content>("audio", {}), only<Content>("annotations", {Json::array()}),
      ignored("tool_calls"),  // the message has them too
  };
  return fields;
}

// A string, or a list of text parts.
Content to_content(const std::string& name, const Json& value) {
  if (value.is_string()) return {value.get<std::string>(), std::nullopt};
  if (!value.is_array()) refuse_value(name, "a string or a list of text parts", value);
  Content content;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string part = name + "[" + std::to_string(i) + "]";
    const auto type = to_object(part, value[i]).find("type");
    if (type == value[i].end()) refuse_missing(part + ".type");
    if (*type != "text") refuse_unsupported(part + ".type", describe(*type), "text");
    check_present(value[i], {"text"}, part + ".");
    read_fields<Content>(content, value[i], part_fields(), part + ".");
  }
  return content;
}

struct Call {
  std::optional<std::string> id, type, function;
  Json arguments;
};

void set_function(Call& call, const std::string& name, const Json& value) {
  static const Fields<Call> fields = {
      string<Call>("name", [](Call& c, const std::string& v) { c.function = v; }),
      custom<Call>("arguments",
                   [](Call& c, const std::string& n, const Json& v) {
                     if (!v.is_object()) to_string(n, v);
                     c.arguments = v;
                   }),
      {"parsed_arguments", [](Call&, const std::string&, const Json&) {}},  // the openai client's own copy of them
  };
  read_fields<Call>(call, to_object(name, value), fields, name + ".");
}

Json call_json(const Call& call) {
  Json result = {{"type", "function"},
                 {"function", {{"name", *call.function}, {"arguments", parsed_arguments(call.arguments)}}}};
  if (call.id) result["id"] = *call.id;
  return result;
}

// The deprecated form of a call.
Json to_function_call(const std::string& name, const Json& value) {
  Call call;
  set_function(call, name, value);
  if (!call.function) refuse_missing(name + ".name");
  return Json::array({call_json(call)});
}

Json to_tool_calls(const std::string& name, const Json& value) {
  static const Fields<Call> fields = {
      string<Call>("id", [](Call& c, const std::string& v) { c.id = v; }), only<Call>("type", {"function"}),
      custom<Call>("function", set_function),
      no_effect<Call>("index", Json::value_t::number_unsigned),  // of a stream's deltas, which some clients send back
  };
  Json calls = Json::array();
  for (const Json& item : to_array(name, value)) {
    const std::string path = name + "[" + std::to_string(calls.size()) + "]";
    Call call;
    read_fields<Call>(call, to_object(path, item), fields, path + ".");
    if (!call.function) refuse_missing(path + ".function.name");
    calls.push_back(call_json(call));
  }
  return calls;
}

struct Message {
  std::string role;
  std::optional<std::string> content, name, tool_call_id, reasoning, refusal;
  Json tool_calls;
  bool prefix = false;
};

const Fields<Message>& message_fields() {
  using M = Message;
  static const Fields<M> fields = {
      string<M>("role", [](M& m, const std::string& v) { m.role = v; }),
      custom<M>("content",
                [](M& m, const std::string& name, const Json& v) {
                  Content content = to_content(name, v);
                  m.content = std::move(content.text);
                  if (content.reasoning) m.reasoning = std::move(content.reasoning);
                }),
      string<M>("name", [](M& m, const std::string& v) { m.name = v; }),
      string<M>("reasoning_content", [](M& m, const std::string& v) { m.reasoning = v; }),
      string<M>("tool_call_id", [](M& m, const std::string& v) { m.tool_call_id = v; }),
      custom<M>("tool_calls",
                [](M& m, const std::string& name, const Json& v) { m.tool_calls = to_tool_calls(name, v); }),
      custom<M>("function_call",
                [](M& m, const std::string& name, const Json& v) { m.tool_calls = to_function_call(name, v); }),
      string<M>("refusal", [](M& m, const std::string& v) { m.refusal = v; }),  // what another model had to say
      no_effect<M>("cache_control", Json::value_t::object),
      boolean<M>("prefix", [](M& m, bool v) { m.prefix = v; }),  // Mistral's
      // Null in our answers, and so in what clients send back.
      only<M>("audio", {}),
      only<M>("annotations", {Json::array()}),
      {"parsed", [](M&, const std::string&, const Json&) {}},  // the openai client's own copy of the content
  };
  return fields;
}

// `last`: of the conversation; it may be the beginning of the answer.
Json normalise(const std::string& path, const Json& value, bool last) {
  Message message;
  read_fields<Message>(message, to_object(path, value), message_fields(), path + ".");
  if (message.role.empty()) refuse_missing(path + ".role");
  const auto role =
      std::find_if(std::begin(kRoles), std::end(kRoles), [&](const Role& r) { return r.name == message.role; });
  if (role == std::end(kRoles)) {
    refuse_value(path + ".role", "system, developer, user, assistant, tool or function", Json(message.role));
  }
  if (!message.content && role->name == "assistant") message.content = message.refusal;
  const bool calls = !message.tool_calls.is_null() && !message.tool_calls.empty();
  // Our own answer may be reasoning alone.
  if (!message.content && !(role->may_lack_content && (calls || message.reasoning))) refuse_missing(path + ".content");
  if (message.prefix && (!last || calls || role->name != "assistant"))
    refuse_value(path + ".prefix", "absent or false but in a last message of the assistant's, of text", true);
  if (calls && role->name != "assistant") refuse_value(path + ".tool_calls", "absent but in assistant messages", value);
  Json result = {{"role", role->template_name}, {"content", message.content.value_or("")}};
  if (message.name) result["name"] = *message.name;
  if (message.reasoning) result["reasoning_content"] = *message.reasoning;
  if (message.tool_call_id) result["tool_call_id"] = *message.tool_call_id;
  if (calls) result["tool_calls"] = std::move(message.tool_calls);
  return result;
}

}  // namespace

// Templates write `arguments` with tojson.
Json parsed_arguments(const Json& arguments) {
  if (!arguments.is_string()) return arguments;
  try {
    Json parsed = parse_json(arguments.get_ref<const std::string&>());
    if (parsed.is_object()) return parsed;
  } catch (const http::RequestError&) {  // a model wrote it: it need not be JSON
  }
  return arguments;
}

Json arguments_object(const std::string& arguments) {
  Json parsed = parsed_arguments(Json(arguments));
  if (parsed.is_object()) return parsed;
  return arguments.empty() ? Json::object() : Json{{"invalid_json", arguments}};
}

void set_allowed_tools(chat::ToolChoice& choice, const std::string& name, const Json& value) {
  struct Tool {
    std::string name;
  };
  static const Fields<Tool> function = {string<Tool>("name", [](Tool& t, const std::string& v) { t.name = v; })};
  static const Fields<Tool> tool = {only<Tool>("type", {"function"}), function.front(),
                                    custom<Tool>("function", [](Tool& t, const std::string& n, const Json& v) {
                                      read_fields<Tool>(t, to_object(n, v), function, n + ".");
                                    })};
  using Choice = chat::ToolChoice;
  static const Fields<Choice> fields = {only<Choice>("type", {"allowed_tools"}),
                                        custom<Choice>("mode",
                                                       [](Choice& c, const std::string& n, const Json& v) {
                                                         if (v != "auto" && v != "required")
                                                           refuse_value(n, "auto or required", v);
                                                         if (v == "required") c.kind = Choice::Kind::kRequired;
                                                       }),
                                        custom<Choice>("tools", [](Choice& c, const std::string& n, const Json& v) {
                                          for (const Json& item : to_array(n, v)) {
                                            const std::string path = n + "[" + std::to_string(c.allowed.size()) + "]";
                                            Tool named;
                                            read_fields<Tool>(named, to_object(path, item), tool, path + ".");
                                            if (named.name.empty()) refuse_missing(path + ".name");
                                            c.allowed.push_back(named.name);
                                          }
                                        })};
  read_fields<Choice>(choice, to_object(name, value), fields, name + ".");
  if (choice.allowed.empty()) refuse_missing(name + ".tools");
}

void apply_tool_choice(ChatPrompt& prompt, const chat::ToolChoice& choice, const std::string& name) {
  if (choice.kind == chat::ToolChoice::Kind::kNone) {
    prompt.tools = nullptr;
    return;
  }
  prompt.tool_choice = choice;
  if ((choice.forced() || !choice.allowed.empty()) && prompt.tools.is_null()) refuse_missing("tools");
  const auto check_known = [&](const std::string& wanted) {
    const bool known = std::any_of(prompt.tools.begin(), prompt.tools.end(),
                                   [&](const Json& tool) { return tool.at("function").at("name") == wanted; });
    if (!known) refuse_value(name, "the name of one of the tools", Json(wanted));
  };
  if (choice.kind == chat::ToolChoice::Kind::kNamed) check_known(choice.name);
  if (choice.allowed.empty()) return;
  for (const std::string& wanted : choice.allowed) check_known(wanted);
  Json allowed = Json::array();
  for (const Json& tool : prompt.tools) {
    const auto& tool_name = tool.at("function").at("name").get_ref<const std::string&>();
    if (std::find(choice.allowed.begin(), choice.allowed.end(), tool_name) != choice.allowed.end())
      allowed.push_back(tool);
  }
  prompt.tools = std::move(allowed);
}

Json normalise_messages(const Json& messages) {
  Json result = Json::array();
  for (const Json& message : to_array("messages", messages)) {
    result.push_back(normalise(element("messages", result.size()), message, result.size() + 1 == messages.size()));
  }
  if (result.empty()) refuse_value("messages", "a list of at least one message", messages);
  return result;
}

void take_prefix(ChatPrompt& prompt, const Json& messages) {
  const auto prefix = messages.back().find("prefix");
  if (prefix == messages.back().end() || *prefix != true) return;
  if (prompt.messages.size() == 1)
    refuse_value("messages", "a list in which something is said before the answer's beginning", messages);
  prompt.prefill = prompt.messages.back()["content"].get<std::string>();
  prompt.messages.erase(prompt.messages.size() - 1);
}

namespace {

struct CheckedTool {};

// null counts as absent; a template would write it.
Json without_nulls(const Json& object) {
  Json result = Json::object();
  for (const auto& [name, value] : object.items())
    if (!value.is_null()) result[name] = value;
  return result;
}

void check_function(CheckedTool& tool, const std::string& name, const Json& value) {
  static const Fields<CheckedTool> fields = {
      custom<CheckedTool>("name", [](CheckedTool&, const std::string& n, const Json& v) { to_name(n, v); }),
      string<CheckedTool>("description", [](CheckedTool&, const std::string&) {}),
      custom<CheckedTool>("parameters", [](CheckedTool&, const std::string& n, const Json& v) { to_object(n, v); }),
      boolean<CheckedTool>("strict", [](CheckedTool&, bool) {}),
  };
  read_fields<CheckedTool>(tool, to_object(name, value), fields, name + ".");
  check_present(value, {"name"}, name + ".");
}

}  // namespace

Json tools_of_functions(const Json& functions) {
  Json tools = Json::array();
  for (const Json& item : to_array("functions", functions)) {
    CheckedTool tool;
    check_function(tool, "functions[" + std::to_string(tools.size()) + "]", item);
    tools.push_back({{"type", "function"}, {"function", without_nulls(item)}});
  }
  return tools.empty() ? Json(nullptr) : tools;
}

Json check_tools(const Json& tools) {
  static const Fields<CheckedTool> fields = {only<CheckedTool>("type", {"function"}),
                                             custom<CheckedTool>("function", check_function),
                                             no_effect<CheckedTool>("cache_control", Json::value_t::object)};
  Json checked = Json::array();
  for (const Json& item : to_array("tools", tools)) {
    const std::string path = "tools[" + std::to_string(checked.size()) + "]";
    CheckedTool tool;
    read_fields<CheckedTool>(tool, to_object(path, item), fields, path + ".");
    check_present(item, {"type", "function"}, path + ".");
    checked.push_back(without_nulls(item));
    checked.back().erase("cache_control");  // not for the template
    checked.back()["function"] = without_nulls(item["function"]);
  }
  return checked.empty() ? Json(nullptr) : checked;
}

}  // namespace nacelle::openai
