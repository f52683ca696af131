#include "api/openai/responses_request.hpp"

#include <optional>
#include <utility>

#include "api/http/message.hpp"
#include "api/openai/generation_fields.hpp"

namespace nacelle::openai {
namespace {

struct ResponsesDraft : ResponsesBody {
  chat::ToolChoice tool_choice;
  Json tools = Json::array();  // as the response repeats them
  Json choice = "auto";
  Json format = {{"type", "text"}};  // text.format
  std::optional<std::uint32_t> max_output_tokens;
  Json metadata = Json::object();
  Json user;
};

using R = ResponsesDraft;

// ---- Input items

// A string, or parts: input_text of others, output_text and refusal of the assistant.
std::string to_item_text(const std::string& name, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) refuse_value(name, "a string or a list of parts", value);
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string part = name + "[" + std::to_string(i) + "]";
    static const Fields<std::string> fields = {
        no_effect<std::string>("type", Json::value_t::string),
        string<std::string>("text", [](std::string& t, const std::string& v) { t += v; }),
        no_effect<std::string>("annotations", Json::value_t::array),  // of our own answers, which clients send back
        no_effect<std::string>("logprobs", Json::value_t::array),
    };
    const Json& object = to_object(part, value[i]);
    if (!object.contains("type")) refuse_missing(part + ".type");
    const Json& type = object["type"];  // first, as the members follow from it
    if (type != "input_text" && type != "output_text") refuse_unsupported(part + ".type", describe(type));
    if (!object.contains("text")) refuse_missing(part + ".text");
    read_fields<std::string>(text, object, fields, part + ".");
  }
  return text;
}

struct Item {
  std::string type, role, call_id, name;
  std::optional<std::string> content, output, arguments, reasoning;
};

std::string to_reasoning(const std::string& name, const Json& value) {
  std::string text;
  static const Fields<std::string> fields = {
      only<std::string>("type", {"reasoning_text"}),
      string<std::string>("text", [](std::string& t, const std::string& v) { t += v; }),
  };
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    const std::string part = name + "[" + std::to_string(i) + "]";
    read_fields<std::string>(text, to_object(part, value[i]), fields, part + ".");
  }
  return text;
}

template <class Value>
Field<Item> item_string(std::string name, Value Item::*member) {
  return {std::move(name), [member](Item& i, const std::string& n, const Json& v) { i.*member = to_string(n, v); }};
}

// The members that items of a type have beside it, id and status.
Fields<Item> item_fields(const std::string& path, const std::string& type) {
  Fields<Item> fields = {
      item_string("type", &Item::type),
      no_effect<Item>("id", Json::value_t::string),
      only<Item>("status", {"completed", "incomplete", "in_progress"}),
  };
  const auto more = [&fields](Field<Item> field) { fields.push_back(std::move(field)); };
  if (type == "message") {
    more(item_string("role", &Item::role));
    more(custom<Item>("content", [](Item& i, const std::string& n, const Json& v) { i.content = to_item_text(n, v); }));
  } else if (type == "function_call") {
    more(item_string("call_id", &Item::call_id));
    more(item_string("name", &Item::name));
    more(item_string("arguments", &Item::arguments));
  } else if (type == "function_call_output") {
    more(item_string("call_id", &Item::call_id));
    more(custom<Item>("output", [](Item& i, const std::string& n, const Json& v) { i.output = to_item_text(n, v); }));
  } else if (type == "reasoning") {
    more(custom<Item>("content",
                      [](Item& i, const std::string& n, const Json& v) { i.reasoning = to_reasoning(n, v); }));
    more(only<Item>("summary", {Json::array()}));
    more(only<Item>("encrypted_content", {}));
  } else {
    refuse_unsupported(path + ".type", describe(type));
  }
  return fields;
}

void append_message(Json& messages, const std::string& path, const Item& item) {
  if (item.role.empty()) refuse_missing(path + ".role");
  if (!item.content) refuse_missing(path + ".content");
  if (item.role == "assistant") return append_assistant_text(messages, *item.content);
  if (item.role != "user" && item.role != "system" && item.role != "developer") {
    refuse_value(path + ".role", "system, developer, user or assistant", Json(item.role));
  }
  messages.push_back({{"role", item.role == "user" ? "user" : "system"}, {"content", *item.content}});
}

void append_item(Json& messages, const std::string& path, const Json& value) {
  const auto type = to_object(path, value).find("type");
  const std::string name = type == value.end() ? "message" : to_string(path + ".type", *type);
  Item item;
  read_fields<Item>(item, value, item_fields(path, name), path + ".");
  if (name == "message") return append_message(messages, path, item);
  if (name == "reasoning") return append_assistant_reasoning(messages, item.reasoning.value_or(""));
  if (item.call_id.empty()) refuse_missing(path + ".call_id");
  if (name == "function_call_output") {
    if (!item.output) refuse_missing(path + ".output");
    messages.push_back({{"role", "tool"}, {"content", *item.output}, {"tool_call_id", item.call_id}});
    return;
  }
  if (item.name.empty()) refuse_missing(path + ".name");
  append_assistant_call(messages, item.call_id, item.name, Json(item.arguments.value_or("{}")));
}

void set_input(R& draft, const std::string& name, const Json& value) {
  Json& messages = draft.prompt.messages = Json::array();
  if (value.is_string()) {
    messages.push_back({{"role", "user"}, {"content", value}});
    return;
  }
  if (!value.is_array() || value.empty()) refuse_value(name, "a string or a list of at least one item", value);
  for (std::size_t i = 0; i < value.size(); ++i) append_item(messages, name + "[" + std::to_string(i) + "]", value[i]);
}

// ---- Tools

void set_tools(R& draft, const std::string& name, const Json& value) {
  Json tools = Json::array();
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    const std::string path = name + "[" + std::to_string(i) + "]";
    const Json& tool = to_object(path, value[i]);
    if (!tool.contains("type")) refuse_missing(path + ".type");
    if (tool["type"] != "function") refuse_unsupported(path + ".type", describe(tool["type"]));
    struct Tool {
      Json function = Json::object();
      bool strict = false;
    } parsed;
    static const Fields<Tool> fields = {
        only<Tool>("type", {"function"}),
        custom<Tool>("name",
                     [](Tool& t, const std::string& n, const Json& v) { t.function["name"] = to_string(n, v); }),
        custom<Tool>("description",
                     [](Tool& t, const std::string& n, const Json& v) { t.function["description"] = to_string(n, v); }),
        custom<Tool>("parameters",
                     [](Tool& t, const std::string& n, const Json& v) { t.function["parameters"] = to_object(n, v); }),
        custom<Tool>("strict", [](Tool& t, const std::string& n, const Json& v) { t.strict = to_boolean(n, v); }),
    };
    read_fields<Tool>(parsed, tool, fields, path + ".");
    if (!parsed.function.contains("name")) refuse_missing(path + ".name");
    Json repeated = {{"type", "function"}};
    repeated.update(parsed.function);
    if (!repeated.contains("parameters")) repeated["parameters"] = nullptr;
    repeated["strict"] = parsed.strict;
    if (parsed.strict) parsed.function["strict"] = true;
    draft.tools.push_back(std::move(repeated));
    tools.push_back({{"type", "function"}, {"function", std::move(parsed.function)}});
  }
  if (!tools.empty()) draft.prompt.tools = std::move(tools);
}

void set_responses_tool_choice(R& draft, const std::string& name, const Json& value) {
  using Kind = chat::ToolChoice::Kind;
  draft.choice = value;
  if (value == "none" || value == "auto" || value == "required") {
    draft.tool_choice.kind = value == "none" ? Kind::kNone : value == "auto" ? Kind::kAuto : Kind::kRequired;
    return;
  }
  static const Fields<R> fields = {
      only<R>("type", {"function"}),
      string<R>("name", [](R& d, const std::string& v) { d.tool_choice.name = v; }),
  };
  if (value.is_object() && value.contains("tools")) return set_allowed_tools(draft.tool_choice, name, value);
  if (!value.is_object()) refuse_value(name, "none, auto, required or an object that names a function", value);
  read_fields<R>(draft, value, fields, name + ".");
  if (draft.tool_choice.name.empty()) refuse_missing(name + ".name");
  draft.tool_choice.kind = Kind::kNamed;
}

// ---- The rest

// As chat's response_format, but flat.
void set_text_format(R& draft, const std::string& name, const Json& value) {
  if (!to_object(name, value).contains("type")) refuse_missing(name + ".type");
  draft.format = value;
  Json nested = {{"type", value["type"]}};
  if (value["type"] == "json_schema") {
    nested["json_schema"] = value;
    nested["json_schema"].erase("type");
  } else if (value.size() > 1) {
    refuse_value(name, "an object of the type alone", value);
  }
  set_response_format(draft.constraint, name, nested);
}

void set_text(R& draft, const std::string& name, const Json& value) {
  static const Fields<R> fields = {
      custom<R>("format", set_text_format),
      only<R>("verbosity", {"medium"}),
  };
  read_fields<R>(draft, to_object(name, value), fields, name + ".");
}

void set_reasoning(R& draft, const std::string& name, const Json& value) {
  static const Fields<R> fields = {
      string<R>("effort", [](R& d, const std::string& v) { d.prompt.reasoning_effort = v; }),
      only<R>("summary", {"auto"}),  // the most that the model gives: none
      only<R>("generate_summary", {"auto"}),
  };
  read_fields<R>(draft, to_object(name, value), fields, name + ".");
}

// Our reasoning items have their text: a client that sends them back needs nothing encrypted.
void set_include(R&, const std::string& name, const Json& value) {
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i)
    if (value[i] != "reasoning.encrypted_content")
      refuse_unsupported(name + "[" + std::to_string(i) + "]", describe(value[i]));
}

Fields<R> responses_fields() {
  Fields<R> fields = sampling_fields<R>();
  const Field<R> more[] = {
      string<R>("model", [](R& d, const std::string& v) { d.model = v; }),
      custom<R>("input", set_input),
      string<R>("instructions", [](R& d, const std::string& v) { d.instructions = v; }),
      string<R>("previous_response_id", [](R& d, const std::string& v) { d.previous = v; }),
      boolean<R>("store", [](R& d, bool v) { d.store = v; }),
      boolean<R>("stream", [](R& d, bool v) { d.stream = v; }),
      custom<R>("stream_options",
                [](R& d, const std::string& name, const Json& v) {
                  static const Fields<R> options = {only<R>("include_obfuscation", {false})};
                  read_fields<R>(d, to_object(name, v), options, name + ".");
                }),
      integer<R>("max_output_tokens", 1, kMaxCount,
                 [](R& d, std::int64_t v) { d.max_output_tokens = static_cast<std::uint32_t>(v); }),
      custom<R>("tools", set_tools),
      custom<R>("tool_choice", set_responses_tool_choice),
      boolean<R>("parallel_tool_calls", [](R& d, bool v) { d.prompt.parallel_calls = v; }),
      custom<R>("text", set_text),
      custom<R>("reasoning", set_reasoning),
      custom<R>("metadata", [](R& d, const std::string& name, const Json& v) { d.metadata = to_object(name, v); }),
      custom<R>("user", [](R& d, const std::string& name, const Json& v) { d.user = to_string(name, v); }),
      custom<R>("chat_template_kwargs",
                [](R& d, const std::string& name, const Json& v) {
                  d.prompt.template_variables = to_template_variables(name, v);
                }),
      no_effect<R>("safety_identifier", Json::value_t::string),
      no_effect<R>("prompt_cache_key", Json::value_t::string),
      only<R>("truncation", {"disabled"}),
      only<R>("service_tier", {"auto", "default"}),
      only<R>("background", {false}),
      custom<R>("include", set_include),
      only<R>("top_logprobs", {0}),
      only<R>("max_tool_calls", {}),
      only<R>("prompt", {}),
      only<R>("conversation", {}),
      only<R>("context_management", {}),
      only<R>("prompt_cache_retention", {}),
      only<R>("prompt_cache_options", {}),
      only<R>("moderation", {}),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  return fields;
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json repeated_of(const R& draft) {
  const SamplingParams& sampling = draft.request.sampling;
  return {{"instructions", text_or_null(draft.instructions)},
          {"max_output_tokens", draft.max_output_tokens ? Json(*draft.max_output_tokens) : Json(nullptr)},
          {"parallel_tool_calls", draft.prompt.parallel_calls},
          {"previous_response_id", text_or_null(draft.previous)},
          {"reasoning", {{"effort", text_or_null(draft.prompt.reasoning_effort)}, {"summary", nullptr}}},
          {"store", draft.store},
          {"temperature", sampling.temperature},
          {"text", {{"format", draft.format}}},
          {"tool_choice", draft.choice},
          {"tools", draft.tools},
          {"top_p", sampling.top_p},
          {"truncation", "disabled"},
          {"metadata", draft.metadata}};
}

// The assistant's message at the end of the conversation, made where there is none that could still take it.
Json& open_assistant(Json& messages) {
  if (messages.empty() || messages.back()["role"] != "assistant") {
    messages.push_back({{"role", "assistant"}, {"content", ""}});
  }
  return messages.back();
}

}  // namespace

void append_assistant_text(Json& messages, std::string_view text) {
  Json* message = &open_assistant(messages);
  if (message->contains("tool_calls")) {
    messages.push_back({{"role", "assistant"}, {"content", ""}});
    message = &messages.back();
  }
  (*message)["content"].get_ref<std::string&>() += text;
}

void append_assistant_reasoning(Json& messages, std::string_view text) {
  if (text.empty()) return;
  Json& message = open_assistant(messages);
  if (!message.contains("reasoning_content")) message["reasoning_content"] = "";
  message["reasoning_content"].get_ref<std::string&>() += text;
}

void append_assistant_call(Json& messages, const std::string& id, const std::string& name, const Json& arguments) {
  Json& message = open_assistant(messages);
  if (!message.contains("tool_calls")) message["tool_calls"] = Json::array();
  message["tool_calls"].push_back(
      {{"type", "function"}, {"function", {{"name", name}, {"arguments", parsed_arguments(arguments)}}}, {"id", id}});
}

void prepend_system(Json& messages, const std::string& text) {
  if (text.empty()) return;
  if (!messages.empty() && messages.front()["role"] == "system") {
    messages.front()["content"] = text + "\n\n" + messages.front()["content"].get<std::string>();
    return;
  }
  Json message = {{"role", "system"}, {"content", text}};
  messages.insert(messages.begin(), std::move(message));
}

ResponsesBody parse_responses(std::string_view body) {
  static const Fields<R> fields = responses_fields();
  const Json json = parse_json(body);
  R draft;
  read_fields<R>(draft, to_object("body", json), fields);
  if (draft.prompt.messages.is_null()) refuse_missing("input");
  apply_tool_choice(draft.prompt, draft.tool_choice, "tool_choice");
  draft.request.max_tokens = draft.max_output_tokens.value_or(0);
  draft.repeated = repeated_of(draft);
  if (!draft.user.is_null()) draft.repeated["user"] = draft.user;
  return draft;
}

}  // namespace nacelle::openai
