#include "api/openai/responses_request.hpp"

#include <algorithm>
#include <iterator>
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
  const FindItem* find = nullptr;
  bool logprobs = false;  // by include
  std::uint32_t top_logprobs = 0;
};

using R = ResponsesDraft;

// ---- Tools

void set_tools(R& draft, const std::string& name, const Json& value) {
  Json tools = Json::array();
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    const std::string path = name + "[" + std::to_string(i) + "]";
    const Json& tool = to_object(path, value[i]);
    check_present(tool, {"type"}, path + ".");
    if (tool["type"] != "function") refuse_unsupported(path + ".type", describe(tool["type"]), "function");
    struct Tool {
      Json function = Json::object();
      bool strict = false;
    } parsed;
    static const Fields<Tool> fields = {
        only<Tool>("type", {"function"}),
        custom<Tool>("name", [](Tool& t, const std::string& n, const Json& v) { t.function["name"] = to_name(n, v); }),
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
  check_present(to_object(name, value), {"type"}, name + ".");
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
      only<R>("context", {"auto"}),  // the template's choice
      only<R>("mode", {"standard"}),
  };
  read_fields<R>(draft, to_object(name, value), fields, name + ".");
}

void set_conversation(R& draft, const std::string& name, const Json& value) {
  static const Fields<R> fields = {string<R>("id", [](R& d, const std::string& v) { d.conversation = v; })};
  if (value.is_string()) {
    draft.conversation = value;
  } else if (value.is_object()) {
    read_fields<R>(draft, value, fields, name + ".");
  }
  if (draft.conversation.empty()) refuse_value(name, "a conversation's id, or an object that has it", value);
}

// A text that the response repeats; it has no effect on the answer.
Field<R> repeated_text(std::string name) {
  return {std::move(name), [](R& d, const std::string& n, const Json& v) { d.repeated[n] = to_string(n, v); }};
}

// What the prompt follows from.
Fields<R> prompt_fields() {
  return {
      string<R>("model", [](R& d, const std::string& v) { d.model = v; }),
      custom<R>("input",
                [](R& d, const std::string& name, const Json& v) {
                  InputItems input = parse_items(name, v, SIZE_MAX, *d.find);
                  d.prompt.messages = std::move(input.messages);
                  d.items = std::move(input.items);
                }),
      string<R>("instructions", [](R& d, const std::string& v) { d.instructions = v; }),
      string<R>("previous_response_id", [](R& d, const std::string& v) { d.previous = v; }),
      custom<R>("conversation", set_conversation),
      custom<R>("tools", set_tools),
      custom<R>("tool_choice", set_responses_tool_choice),
      boolean<R>("parallel_tool_calls", [](R& d, bool v) { d.prompt.parallel_calls = v; }),
      custom<R>("text", set_text),
      custom<R>("reasoning", set_reasoning),
      custom<R>("truncation",
                [](R& d, const std::string& name, const Json& v) {
                  if (v != "auto" && v != "disabled") refuse_value(name, "auto or disabled", v);
                  d.truncate = v == "auto";
                }),
      custom<R>("chat_template_kwargs",
                [](R& d, const std::string& name, const Json& v) {
                  d.prompt.template_variables = to_template_variables(name, v);
                }),
  };
}

Fields<R> responses_fields() {
  Fields<R> fields = sampling_fields<R>();
  const Fields<R> prompt = prompt_fields();
  fields.insert(fields.end(), prompt.begin(), prompt.end());
  const Field<R> more[] = {
      boolean<R>("store", [](R& d, bool v) { d.store = v; }),
      boolean<R>("background", [](R& d, bool v) { d.background = v; }),
      boolean<R>("stream", [](R& d, bool v) { d.stream = v; }),
      custom<R>("stream_options",
                [](R& d, const std::string& name, const Json& v) {
                  static const Fields<R> options = {only<R>("include_obfuscation", {false})};
                  read_fields<R>(d, to_object(name, v), options, name + ".");
                }),
      integer<R>("max_output_tokens", 1, kMaxCount,
                 [](R& d, std::int64_t v) { d.max_output_tokens = static_cast<std::uint32_t>(v); }),
      custom<R>("metadata", [](R& d, const std::string& name, const Json& v) { d.metadata = to_metadata(name, v); }),
      custom<R>("include", [](R& d, const std::string& name, const Json& v) { d.logprobs = to_include(name, v); }),
      integer<R>("top_logprobs", 0, 20, [](R& d, std::int64_t v) { d.top_logprobs = static_cast<std::uint32_t>(v); }),
      integer<R>("max_tool_calls", 0, kMaxCount,  // of tools that the server itself runs: there are none
                 [](R& d, std::int64_t v) { d.repeated["max_tool_calls"] = v; }),
      repeated_text("user"),
      repeated_text("safety_identifier"),
      repeated_text("prompt_cache_key"),
      no_effect<R>("client_metadata", Json::value_t::object),  // Codex: who asks, in words of its own
      only<R>("service_tier", {"auto", "default"}),
      only<R>("prompt", {}),
      only<R>("context_management", {}),
      only<R>("moderation", {}),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  const Fields<R> cache = cache_fields<R>();
  fields.insert(fields.end(), cache.begin(), cache.end());
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
          {"truncation", draft.truncate ? "auto" : "disabled"},
          {"metadata", draft.metadata},
          {"background", draft.background},
          {"conversation", draft.conversation.empty() ? Json(nullptr) : Json({{"id", draft.conversation}})},
          {"service_tier", "default"},
          {"top_logprobs", draft.top_logprobs}};
}

void finish_prompt(R& draft) {
  if (!draft.previous.empty() && !draft.conversation.empty())
    refuse_value("previous_response_id", "absent beside 'conversation'", draft.previous);
  apply_tool_choice(draft.prompt, draft.tool_choice, "tool_choice");
}

}  // namespace

const Json& to_metadata(const std::string& name, const Json& value) {
  constexpr std::size_t kMost = 16;
  if (to_object(name, value).size() > kMost) refuse_value(name, "an object of at most 16 names", value);
  for (const auto& [key, text] : value.items()) to_string(name + "." + key.substr(0, 64), text);
  return value;
}

bool to_include(const std::string& name, const Json& value) {
  static constexpr std::string_view kKnown[] = {
      "message.output_text.logprobs",
      "reasoning.encrypted_content",  // our reasoning items have their text: clients need nothing encrypted
      // Of items and parts that there are none of here.
      "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
      "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"};
  if (value.is_string()) return to_include(name, Json::array({value}));
  bool logprobs = false;
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    const std::string path = name + "[" + std::to_string(i) + "]";
    const std::string& what = to_string(path, value[i]);
    if (std::find(std::begin(kKnown), std::end(kKnown), what) == std::end(kKnown))
      refuse_unsupported(path, describe(value[i]));
    logprobs |= what == kKnown[0];
  }
  return logprobs;
}

ResponsesBody parse_responses(std::string_view body, const FindItem& find) {
  static const Fields<R> fields = responses_fields();
  const Json json = parse_json(body);
  R draft;
  draft.find = &find;
  read_fields<R>(draft, to_object("body", json), fields);
  if (draft.prompt.messages.is_null()) refuse_missing("input");
  if (draft.background && !draft.store) refuse_value("store", "true where 'background' is", false);
  finish_prompt(draft);
  draft.request.max_tokens = draft.max_output_tokens.value_or(0);
  if (draft.logprobs || draft.top_logprobs > 0) draft.request.logprobs = draft.top_logprobs;
  Json repeated = repeated_of(draft);
  repeated.update(draft.repeated);
  draft.repeated = std::move(repeated);
  return draft;
}

ResponsesBody parse_input_tokens(std::string_view body, const FindItem& find) {
  static const Fields<R> fields = [] {
    Fields<R> all = prompt_fields();
    all.push_back(only<R>("personality", {}));
    return all;
  }();
  const Json json = parse_json(body);
  R draft;
  draft.find = &find;
  read_fields<R>(draft, to_object("body", json), fields);
  if (draft.prompt.messages.is_null()) {
    if (draft.previous.empty() && draft.conversation.empty()) refuse_missing("input");
    draft.prompt.messages = Json::array();
  }
  finish_prompt(draft);
  return draft;
}

}  // namespace nacelle::openai
