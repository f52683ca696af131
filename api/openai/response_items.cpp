#include "api/openai/response_items.hpp"

#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "api/openai/names.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {
namespace {

using Texts = std::vector<std::string>;  // of an item's parts

std::string joined(const Texts& texts) {
  std::string all;
  for (const std::string& text : texts) all += text;
  return all;
}

// A string, or parts: input_text of others, output_text of the assistant.
Texts to_texts(const std::string& name, const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) refuse_value(name, "a string or a list of parts", value);
  Texts texts;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string part = name + "[" + std::to_string(i) + "]";
    static const Fields<std::string> fields = {
        no_effect<std::string>("type", Json::value_t::string),
        string<std::string>("text", [](std::string& t, const std::string& v) { t = v; }),
        no_effect<std::string>("annotations", Json::value_t::array),  // of our own answers, which clients send back
        no_effect<std::string>("logprobs", Json::value_t::array),
        no_effect<std::string>("prompt_cache_breakpoint", Json::value_t::object),  // prefixes are cached anyway
    };
    const Json& object = to_object(part, value[i]);
    check_present(object, {"type"}, part + ".");
    const Json& type = object["type"];  // first, as the members follow from it
    if (type != "input_text" && type != "output_text")
      refuse_unsupported(part + ".type", describe(type), "input_text or output_text");
    check_present(object, {"text"}, part + ".");
    read_fields<std::string>(texts.emplace_back(), object, fields, part + ".");
  }
  return texts;
}

struct Item {
  std::string type, id, role, call_id, name, status = "completed";
  std::optional<Texts> content, output, reasoning;
  std::optional<std::string> arguments;
};

Texts to_reasoning(const std::string& name, const Json& value) {
  Texts texts;
  static const Fields<std::string> fields = {
      only<std::string>("type", {"reasoning_text"}),
      string<std::string>("text", [](std::string& t, const std::string& v) { t = v; }),
  };
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    const std::string part = name + "[" + std::to_string(i) + "]";
    read_fields<std::string>(texts.emplace_back(), to_object(part, value[i]), fields, part + ".");
  }
  return texts;
}

void set_status(Item& item, const std::string& name, const Json& value) {
  item.status = to_string(name, value);
  if (item.status != "completed" && item.status != "incomplete" && item.status != "in_progress")
    refuse_value(name, "completed, incomplete or in_progress", value);
}

template <class Value>
Field<Item> item_string(std::string name, Value Item::*member) {
  return {std::move(name), [member](Item& i, const std::string& n, const Json& v) { i.*member = to_string(n, v); }};
}

// The members that items of a type have beside it, id and status.
Fields<Item> item_fields(const std::string& path, const std::string& type) {
  Fields<Item> fields = {item_string("type", &Item::type), item_string("id", &Item::id),
                         custom<Item>("status", set_status)};
  const auto more = [&fields](Field<Item> field) { fields.push_back(std::move(field)); };
  if (type == "message") {
    more(item_string("role", &Item::role));
    more(no_effect<Item>("phase", Json::value_t::string));  // of another model's answers; no template knows it
    more(custom<Item>("content", [](Item& i, const std::string& n, const Json& v) { i.content = to_texts(n, v); }));
  } else if (type == "function_call") {
    more(item_string("call_id", &Item::call_id));
    more(item_string("name", &Item::name));
    more(item_string("arguments", &Item::arguments));
  } else if (type == "function_call_output") {
    more(item_string("call_id", &Item::call_id));
    more(custom<Item>("output", [](Item& i, const std::string& n, const Json& v) { i.output = to_texts(n, v); }));
  } else if (type == "reasoning") {
    more(custom<Item>("content",
                      [](Item& i, const std::string& n, const Json& v) { i.reasoning = to_reasoning(n, v); }));
    more(only<Item>("summary", {Json::array()}));
    more(only<Item>("encrypted_content", {}));
  } else {
    refuse_unsupported(path + ".type", describe(type),
                       "message, function_call, function_call_output, reasoning or item_reference");
  }
  return fields;
}

Json parts_of(const Texts& texts, const char* type) {
  Json parts = Json::array();
  for (const std::string& text : texts) {
    parts.push_back({{"type", type}, {"text", text}});
    if (std::string_view(type) == "output_text")
      parts.back().update({{"annotations", Json::array()}, {"logprobs", Json::array()}});
  }
  return parts;
}

void append_message(InputItems& input, const std::string& path, const Item& item, Json& listed) {
  if (item.role.empty()) refuse_missing(path + ".role");
  if (!item.content) refuse_missing(path + ".content");
  const bool assistant = item.role == "assistant";
  if (!assistant && item.role != "user" && item.role != "system" && item.role != "developer") {
    refuse_value(path + ".role", "system, developer, user or assistant", Json(item.role));
  }
  listed["role"] = item.role;
  listed["content"] = parts_of(*item.content, assistant ? "output_text" : "input_text");
  if (assistant) return append_assistant_text(input.messages, joined(*item.content));
  input.messages.push_back({{"role", item.role == "user" ? "user" : "system"}, {"content", joined(*item.content)}});
}

void append_call(InputItems& input, const std::string& path, const Item& item, Json& listed) {
  if (item.call_id.empty()) refuse_missing(path + ".call_id");
  listed["call_id"] = item.call_id;
  if (item.type == "function_call_output") {
    if (!item.output) refuse_missing(path + ".output");
    const std::string output = joined(*item.output);
    listed["output"] = output;
    input.messages.push_back({{"role", "tool"}, {"content", output}, {"tool_call_id", item.call_id}});
    return;
  }
  if (item.name.empty()) refuse_missing(path + ".name");
  listed["name"] = item.name;
  listed["arguments"] = item.arguments.value_or("{}");
  append_assistant_call(input.messages, item.call_id, item.name, listed["arguments"]);
}

bool has(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && !found->is_null();
}

std::string type_of(const std::string& path, const Json& value) {
  if (has(to_object(path, value), "type")) return to_string(path + ".type", value["type"]);
  return has(value, "id") && !has(value, "role") && !has(value, "content") ? "item_reference" : "message";
}

void append_item(InputItems& input, const std::string& path, const Json& value, const FindItem& find) {
  Item item;
  const std::string name = type_of(path, value);
  if (find && name == "item_reference") {
    static const Fields<Item> fields = {item_string("type", &Item::type), item_string("id", &Item::id)};
    read_fields<Item>(item, value, fields, path + ".");
    if (item.id.empty()) refuse_missing(path + ".id");
    return append_item(input, path, find(path, item.id), nullptr);
  }
  read_fields<Item>(item, value, item_fields(path, name), path + ".");
  item.type = name;
  Json listed = {{"id", item.id}, {"type", name}, {"status", item.status}};
  if (name == "message") {
    append_message(input, path, item, listed);
  } else if (name == "reasoning") {
    const Texts texts = item.reasoning.value_or(Texts());
    listed["summary"] = Json::array();
    listed["content"] = parts_of(texts, "reasoning_text");
    append_assistant_reasoning(input.messages, joined(texts));
  } else {
    append_call(input, path, item, listed);
  }
  input.items.push_back(std::move(listed));
}

// The assistant's message at the end of the conversation, made where there is none that could still take it.
Json& open_assistant(Json& messages) {
  if (messages.empty() || messages.back()["role"] != "assistant") {
    messages.push_back({{"role", "assistant"}, {"content", ""}});
  }
  return messages.back();
}

}  // namespace

void name_items(Json& items, const std::vector<const Json*>& taken) {
  std::unordered_set<std::string> ids;
  for (const Json* item : taken) ids.insert((*item)["id"].get<std::string>());
  for (Json& item : items) {
    const std::string given = item["id"].get<std::string>();
    if (!given.empty() && ids.insert(given).second) continue;
    const Json& type = item["type"];
    const char* prefix = type == "message"         ? "msg_"
                         : type == "reasoning"     ? "rs_"
                         : type == "function_call" ? "fc_"
                                                   : "fco_";
    ids.insert((item["id"] = random_id(prefix)).get<std::string>());
  }
}

InputItems parse_items(const std::string& name, const Json& value, std::size_t most, const FindItem& find) {
  InputItems input;
  if (value.is_string()) {
    append_item(input, name, {{"role", "user"}, {"content", value}}, nullptr);
    return input;
  }
  if (!value.is_array() || value.empty()) refuse_value(name, "a string or a list of at least one item", value);
  if (value.size() > most) refuse_value(name, "a list of at most " + std::to_string(most) + " items", value);
  for (std::size_t i = 0; i < value.size(); ++i) append_item(input, element(name, i), value[i], find);
  return input;
}

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

}  // namespace nacelle::openai
