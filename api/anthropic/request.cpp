#include "api/anthropic/request.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "api/fields/constraint_fields.hpp"
#include "api/http/message.hpp"
#include "api/openai/responses_request.hpp"

namespace nacelle::anthropic {
namespace {

using fields::boolean;
using fields::check_present;
using fields::custom;
using fields::element;
using fields::Field;
using fields::Fields;
using fields::integer;
using fields::Json;
using fields::no_effect;
using fields::number;
using fields::only;
using fields::read_fields;
using fields::refuse_missing;
using fields::refuse_unsupported;
using fields::refuse_value;
using fields::string;
using fields::to_array;
using fields::to_name;
using fields::to_object;
using fields::to_string;

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr std::int64_t kMinBudget = 1024;  // Anthropic's

struct MessagesDraft : MessagesBody {
  bool has_messages = false;
  std::string system;
  chat::ToolChoice tool_choice;
  std::optional<std::int64_t> budget;
  std::vector<std::string> deferred;                        // tools that the model learns of by a reference
  std::vector<std::pair<std::string, std::string>> loaded;  // such references: where they stand, and the tool's name
};
using D = MessagesDraft;

// ---- Blocks

struct Block {
  std::string text, id, name;
  std::optional<std::string> content;
  bool is_error = false;  // the content says what went wrong, if there is any
  Json input;
  std::vector<std::pair<std::string, std::string>> references;  // as MessagesDraft::loaded
};

std::string to_text_blocks(const std::string& name, const Json& value, Block* result = nullptr);

template <class Value>
Field<Block> block_string(std::string name, Value Block::*member) {
  return {std::move(name), [member](Block& b, const std::string& n, const Json& v) { b.*member = to_string(n, v); }};
}

Fields<Block> block_fields(const std::string& path, const std::string& type) {
  Fields<Block> fields = {no_effect<Block>("type", Json::value_t::string),
                          no_effect<Block>("cache_control", Json::value_t::object)};
  const auto more = [&fields](Field<Block> field) { fields.push_back(std::move(field)); };
  if (type == "text") {
    more(block_string("text", &Block::text));
    more(only<Block>("citations", {}));
  } else if (type == "tool_use") {
    more(block_string("id", &Block::id));
    more(block_string("name", &Block::name));
    more(custom<Block>("input", [](Block& b, const std::string& n, const Json& v) { b.input = to_object(n, v); }));
    more(only<Block>("caller", {Json({{"type", "direct"}})}));
  } else if (type == "tool_result") {
    more(block_string("tool_use_id", &Block::id));
    more(custom<Block>("content",
                       [](Block& b, const std::string& n, const Json& v) { b.content = to_text_blocks(n, v, &b); }));
    more(custom<Block>("is_error",
                       [](Block& b, const std::string& n, const Json& v) { b.is_error = fields::to_boolean(n, v); }));
  } else if (type == "thinking") {
    more(block_string("thinking", &Block::text));
    more(no_effect<Block>("signature", Json::value_t::string));
  } else if (type == "redacted_thinking") {
    more(no_effect<Block>("data", Json::value_t::string));
  } else if (type == "tool_reference") {
    more(block_string("tool_name", &Block::name));
  } else {
    refuse_unsupported(path + ".type", fields::describe(type), "text, tool_use, tool_result or thinking");
  }
  return fields;
}

Block to_block(const std::string& path, const Json& value, std::string& type) {
  check_present(to_object(path, value), {"type"}, path + ".");
  type = to_string(path + ".type", value["type"]);
  Block block;
  read_fields<Block>(block, value, block_fields(path, type), path + ".");
  if (type == "text") check_present(value, {"text"}, path + ".");
  if (type == "thinking") check_present(value, {"thinking"}, path + ".");
  if (type == "tool_result") check_present(value, {"tool_use_id"}, path + ".");
  if (type == "tool_reference") check_present(value, {"tool_name"}, path + ".");
  if (type == "tool_use") check_present(value, {"id", "name", "input"}, path + ".");
  return block;
}

// A string, or a list of text blocks. In a tool's result there may be references to tools too: it is told their names.
std::string to_text_blocks(const std::string& name, const Json& value, Block* result) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) refuse_value(name, "a string or a list of text blocks", value);
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    std::string type;
    Block block = to_block(element(name, i), value[i], type);
    if (result && type == "tool_reference") {
      block.text = "Loaded tool: " + block.name;
      result->references.emplace_back(element(name, i) + ".tool_name", std::move(block.name));
    } else if (type != "text") {
      refuse_unsupported(element(name, i) + ".type", fields::describe(type), "text");
    }
    text += (text.empty() ? "" : "\n") + block.text;
  }
  return text;
}

// ---- Messages

void append_assistant_block(Json& messages, const std::string& type, const Block& block, const std::string& path) {
  if (type == "text") {
    openai::append_assistant_text(messages, block.text);
  } else if (type == "thinking") {
    openai::append_assistant_reasoning(messages, block.text);
  } else if (type == "tool_use") {
    openai::append_assistant_call(messages, block.id, block.name, block.input);
  } else if (type == "redacted_thinking") {
    // What another model thought and only its own server can read: there is nothing to show to this one.
  } else {
    refuse_unsupported(path + ".type", fields::describe(type) + " of the assistant", "text, tool_use or thinking");
  }
}

// Anthropic makes one turn of messages of the user that follow each other, and so do we: some templates know no two.
void append_user_text(Json& messages, const std::string& text) {
  if (!messages.empty() && messages.back()["role"] == "user") {
    messages.back()["content"].get_ref<std::string&>() += "\n" + text;
  } else {
    messages.push_back({{"role", "user"}, {"content", text}});
  }
}

// Results become messages of their own, before the text that stands beside them.
void append_user_blocks(D& draft, const std::string& name, const Json& value) {
  Json& messages = draft.prompt.messages;
  std::string text;
  bool has_text = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    std::string type;
    Block block = to_block(element(name, i), value[i], type);
    if (type == "tool_result") {
      std::string result = block.content.value_or("");
      if (result.empty() && block.is_error) result = "error";
      messages.push_back({{"role", "tool"}, {"content", std::move(result)}, {"tool_call_id", std::move(block.id)}});
      std::move(block.references.begin(), block.references.end(), std::back_inserter(draft.loaded));
    } else if (type == "text") {
      text += (has_text ? "\n" : "") + block.text;
      has_text = true;
    } else {
      refuse_unsupported(element(name, i) + ".type", fields::describe(type) + " of the user", "text or tool_result");
    }
  }
  if (has_text) append_user_text(messages, text);
}

void append_message(D& draft, const std::string& path, const Json& value) {
  Json& messages = draft.prompt.messages;
  struct Message {
    std::string role;
    Json content;
  } message;
  static const Fields<Message> fields = {
      string<Message>("role", [](Message& m, const std::string& v) { m.role = v; }),
      custom<Message>("content", [](Message& m, const std::string&, const Json& v) { m.content = v; }),
  };
  read_fields<Message>(message, to_object(path, value), fields, path + ".");
  const std::string name = path + ".content";
  const bool system = message.role == "system";  // behind others, as Claude Code has it; the template has the say
  if (message.role != "user" && message.role != "assistant" && !(system && !messages.empty())) {
    if (message.role.empty()) refuse_missing(path + ".role");
    refuse_value(path + ".role",
                 messages.empty() ? "user or assistant (what comes first of the system is 'system')"
                                  : "user, assistant or system",
                 Json(message.role));
  }
  if (message.content.is_null()) refuse_missing(name);
  if (system) {
    messages.push_back({{"role", "system"}, {"content", to_text_blocks(name, message.content)}});
    return;
  }
  if (message.content.is_string()) {
    if (message.role == "assistant") {
      openai::append_assistant_text(messages, message.content.get_ref<const std::string&>());
    } else {
      append_user_text(messages, message.content.get_ref<const std::string&>());
    }
    return;
  }
  const bool user = message.role == "user";
  if (!message.content.is_array() || (user && message.content.empty())) {
    refuse_value(name, user ? "a string or a list of at least one block" : "a string or a list of blocks",
                 message.content);
  }
  if (user) return append_user_blocks(draft, name, message.content);
  if (message.content.empty()) openai::append_assistant_text(messages, "");  // our own answer, where nothing was said
  for (std::size_t i = 0; i < message.content.size(); ++i) {
    std::string type;
    const Block block = to_block(element(name, i), message.content[i], type);
    append_assistant_block(messages, type, block, element(name, i));
  }
}

void set_messages(D& draft, const std::string& name, const Json& value) {
  draft.has_messages = true;
  Json& messages = draft.prompt.messages = Json::array();
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) append_message(draft, element(name, i), value[i]);
  if (messages.empty()) refuse_value(name, "a list of at least one message", value);
  const Json& last = messages.back();
  if (last["role"] != "assistant") return;
  if (last.contains("tool_calls") || messages.size() == 1) {
    refuse_value(name, "a list that ends with a message of the user, or with text that the answer begins with", value);
  }
  draft.prompt.prefill = last["content"].get<std::string>();
  messages.erase(messages.size() - 1);
}

// ---- Tools

void set_tools(D& draft, const std::string& name, const Json& value) {
  Json tools = Json::array();
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    struct Tool {
      Json function = Json::object(), examples;
      bool deferred = false;
    } tool;
    static const Fields<Tool> fields = {
        only<Tool>("type", {"custom"}),
        custom<Tool>("name", [](Tool& t, const std::string& n, const Json& v) { t.function["name"] = to_name(n, v); }),
        custom<Tool>("description",
                     [](Tool& t, const std::string& n, const Json& v) { t.function["description"] = to_string(n, v); }),
        custom<Tool>("input_schema",
                     [](Tool& t, const std::string& n, const Json& v) { t.function["parameters"] = to_object(n, v); }),
        no_effect<Tool>("cache_control", Json::value_t::object),
        no_effect<Tool>("eager_input_streaming", Json::value_t::boolean),  // inputs are streamed as they come anyway
        boolean<Tool>("defer_loading", [](Tool& t, bool v) { t.deferred = v; }),
        custom<Tool>("input_examples",
                     [](Tool& t, const std::string& n, const Json& v) {
                       for (std::size_t j = 0; j < to_array(n, v).size(); ++j) to_object(element(n, j), v[j]);
                       t.examples = v;
                     }),
        only<Tool>("allowed_callers", {Json::array({"direct"})}),
        custom<Tool>("strict", [](Tool& t, const std::string& n,
                                  const Json& v) { t.function["strict"] = fields::to_boolean(n, v); }),
    };
    const std::string path = element(name, i);
    read_fields<Tool>(tool, to_object(path, value[i]), fields, path + ".");
    if (!tool.function.contains("name")) refuse_missing(path + ".name");
    if (!tool.function.contains("parameters")) refuse_missing(path + ".input_schema");
    if (!tool.examples.is_null()) tool.function["parameters"]["examples"] = std::move(tool.examples);
    if (tool.deferred) draft.deferred.push_back(tool.function["name"]);
    tools.push_back({{"type", "function"}, {"function", std::move(tool.function)}});
  }
  if (!tools.empty()) draft.prompt.tools = std::move(tools);
}

void set_tool_choice(D& draft, const std::string& name, const Json& value) {
  using Kind = chat::ToolChoice::Kind;
  static const Fields<D> fields = {
      custom<D>("type",
                [](D& d, const std::string& n, const Json& v) {
                  static const std::pair<std::string_view, Kind> words[] = {
                      {"auto", Kind::kAuto}, {"any", Kind::kRequired}, {"tool", Kind::kNamed}, {"none", Kind::kNone}};
                  for (const auto& [word, kind] : words) {
                    if (v != word) continue;
                    d.tool_choice.kind = kind;
                    return;
                  }
                  refuse_value(n, "auto, any, tool or none", v);
                }),
      string<D>("name", [](D& d, const std::string& v) { d.tool_choice.name = v; }),
      boolean<D>("disable_parallel_tool_use", [](D& d, bool v) { d.prompt.parallel_calls = !v; }),
  };
  check_present(to_object(name, value), {"type"}, name + ".");
  read_fields<D>(draft, value, fields, name + ".");
  if (draft.tool_choice.kind == Kind::kNamed && draft.tool_choice.name.empty()) refuse_missing(name + ".name");
}

// ---- The rest

void set_thinking(D& draft, const std::string& name, const Json& value) {
  struct Thinking {
    std::string type;
    std::optional<std::int64_t> budget;
    bool omitted = false;
  } thinking;
  static const Fields<Thinking> fields = {
      string<Thinking>("type", [](Thinking& t, const std::string& v) { t.type = v; }),
      integer<Thinking>("budget_tokens", kMinBudget, INT32_MAX, [](Thinking& t, std::int64_t v) { t.budget = v; }),
      custom<Thinking>("display",
                       [](Thinking& t, const std::string& n, const Json& v) {
                         if (v != "summarized" && v != "omitted") refuse_value(n, "summarized or omitted", v);
                         t.omitted = v == "omitted";  // a summary or more: all of it
                       }),
  };
  read_fields<Thinking>(thinking, to_object(name, value), fields, name + ".");
  draft.omit_thinking = thinking.omitted;
  if (thinking.type == "adaptive") return;  // as the model likes
  if (thinking.type != "enabled" && thinking.type != "disabled") {
    refuse_value(name + ".type", "enabled, adaptive or disabled", Json(thinking.type));
  }
  if (thinking.type == "enabled" && !thinking.budget) refuse_missing(name + ".budget_tokens");
  draft.budget = thinking.budget;
  draft.prompt.template_variables["enable_thinking"] = thinking.type == "enabled";  // what templates call it
}

void set_format(D& draft, const std::string& name, const Json& value) {
  static const Fields<D> fields = {
      only<D>("type", {"json_schema"}),
      custom<D>("schema", [](D& d, const std::string& n,
                             const Json& v) { fields::set_schema(d.constraint, "output_config", to_object(n, v)); }),
  };
  read_fields<D>(draft, to_object(name, value), fields, name + ".");
  check_present(value, {"schema"}, name + ".");
}

void set_output(D& draft, const std::string& name, const Json& value) {
  static const Fields<D> fields = {
      custom<D>("format", set_format),
      string<D>("effort",
                [](D& d, const std::string& v) {
                  d.prompt.reasoning_effort = v;
                  d.prompt.effort_is_hint = true;  // as Anthropic has it; Claude Code sends it to every model
                }),
      only<D>("task_budget", {}),
  };
  read_fields<D>(draft, to_object(name, value), fields, name + ".");
}

// Of the edits only the one that clears nothing: no thinking is taken out but by the template.
void set_context_management(D& draft, const std::string& name, const Json& value) {
  static const Fields<D> edit = {only<D>("type", {"clear_thinking_20251015"}),
                                 only<D>("keep", {"all", Json({{"type", "all"}})})};
  static const Fields<D> fields = {custom<D>("edits", [](D& d, const std::string& n, const Json& v) {
    for (std::size_t i = 0; i < to_array(n, v).size(); ++i) {
      const std::string path = element(n, i);
      read_fields<D>(d, to_object(path, v[i]), edit, path + ".");
      check_present(v[i], {"type", "keep"}, path + ".");
    }
  })};
  read_fields<D>(draft, to_object(name, value), fields, name + ".");
}

void set_stops(D& draft, const std::string& name, const Json& value) {
  if (to_array(name, value).size() > kMaxStops) refuse_value(name, "a list of at most 16 strings", value);
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string& stop = to_string(element(name, i), value[i]);
    if (stop.empty() || stop.size() > kMaxStopBytes)
      refuse_value(element(name, i), "a string of 1 to 1024 bytes", value[i]);
    draft.request.stop.push_back(stop);
  }
}

// Anthropic's client sends it from its tool runner, and goes on without where the failure says so (see shape.cpp).
void refuse_thread(D&, const std::string& name, const Json&) {
  throw http::RequestError({400,
                            "'" + name + "': no conversation is kept here; send all its messages, without 'thread'",
                            name, "thread_unsupported_request"});
}

Fields<D> prompt_fields() {
  return {
      string<D>("model", [](D& d, const std::string& v) { d.model = v; }),
      custom<D>("messages", set_messages),
      custom<D>("system", [](D& d, const std::string& n, const Json& v) { d.system = to_text_blocks(n, v); }),
      custom<D>("tools", set_tools),
      custom<D>("tool_choice", set_tool_choice),
      custom<D>("thinking", set_thinking),
      no_effect<D>("cache_control", Json::value_t::object),
      custom<D>("output_config", set_output),
      custom<D>("context_management", set_context_management),
      only<D>("output_format", {}),
      only<D>("mcp_servers", {Json::array()}),
      only<D>("speed", {"standard"}),
      custom<D>("thread", refuse_thread),
  };
}

Fields<D> answer_fields() {
  Fields<D> fields = prompt_fields();
  const Field<D> more[] = {
      integer<D>("max_tokens", 1, INT32_MAX,
                 [](D& d, std::int64_t v) { d.request.max_tokens = static_cast<std::uint32_t>(v); }),
      custom<D>("stop_sequences", set_stops),
      boolean<D>("stream", [](D& d, bool v) { d.stream = v; }),
      number<D>("temperature", 0, 1, [](D& d, double v) { d.request.sampling.temperature = static_cast<float>(v); }),
      number<D>("top_p", 0, 1, [](D& d, double v) { d.request.sampling.top_p = static_cast<float>(v); }),
      integer<D>("top_k", 0, INT32_MAX,
                 [](D& d, std::int64_t v) { d.request.sampling.top_k = static_cast<std::uint32_t>(v); }),
      no_effect<D>("metadata", Json::value_t::object),
      only<D>("service_tier", {"auto", "standard_only"}),
      only<D>("container", {}),
      only<D>("inference_geo", {}),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  return fields;
}

// Leaves out the tools that are deferred and that no result has loaded: a search tool of the client's finds them.
void take_deferred(D& draft) {
  const auto named = [](const Json& tools, const std::string& name) {
    return std::any_of(tools.begin(), tools.end(), [&](const Json& tool) { return tool["function"]["name"] == name; });
  };
  for (const auto& [place, name] : draft.loaded)
    if (!named(draft.prompt.tools, name)) refuse_value(place, "the name of one of the 'tools'", Json(name));
  if (draft.deferred.empty()) return;
  const auto is = [](const std::string& name) { return [&name](const auto& loaded) { return loaded.second == name; }; };
  Json shown = Json::array();
  for (const Json& tool : draft.prompt.tools) {
    const std::string name = tool["function"]["name"];
    const bool deferred = std::find(draft.deferred.begin(), draft.deferred.end(), name) != draft.deferred.end();
    if (!deferred || std::any_of(draft.loaded.begin(), draft.loaded.end(), is(name))) shown.push_back(tool);
  }
  draft.prompt.tools = shown.empty() ? Json(nullptr) : std::move(shown);
}

D parse(std::string_view body, const Fields<D>& fields) {
  const Json json = fields::parse_json(body);
  D draft;
  read_fields<D>(draft, to_object("body", json), fields);
  check_present(json, {"model"}, "");
  if (!draft.has_messages) refuse_missing("messages");
  take_deferred(draft);
  openai::prepend_system(draft.prompt.messages, draft.system);
  openai::apply_tool_choice(draft.prompt, draft.tool_choice, "tool_choice.name");
  return draft;
}

}  // namespace

MessagesBody parse_messages(std::string_view body) {
  static const Fields<D> fields = answer_fields();
  D draft = parse(body, fields);
  if (draft.request.max_tokens == 0) refuse_missing("max_tokens");
  if (draft.budget && *draft.budget >= draft.request.max_tokens) {
    refuse_value("thinking.budget_tokens", "less than 'max_tokens'", *draft.budget);
  }
  if (draft.constraint && !draft.prompt.prefill.empty())
    refuse_value("output_config.format", "absent where the last message is the assistant's", Json::object());
  return draft;
}

MessagesBody parse_count_tokens(std::string_view body) {
  static const Fields<D> fields = prompt_fields();
  return parse(body, fields);
}

}  // namespace nacelle::anthropic
