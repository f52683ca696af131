// The body of POST /v1/chat/completions.
#include "api/http/message.hpp"
#include "api/openai/generation_fields.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {
namespace {

using T = Draft<ChatBody>;

struct ChatDraft : T {
  chat::ToolChoice tool_choice;
  Json functions_as_tools;
};

void set_chosen_function(ChatDraft& draft, const std::string& name, const Json& value) {
  static const Fields<ChatDraft> fields = {
      string<ChatDraft>("name", [](ChatDraft& d, const std::string& v) { d.tool_choice.name = v; })};
  read_fields<ChatDraft>(draft, to_object(name, value), fields, name + ".");
  check_present(value, {"name"}, name + ".");
}

// "none", "auto", "required", or {"type": "function", "function": {"name": ...}}.
void set_tool_choice(ChatDraft& draft, const std::string& name, const Json& value) {
  using Kind = chat::ToolChoice::Kind;
  static const std::pair<std::string_view, Kind> words[] = {{"none", Kind::kNone},
                                                            {"auto", Kind::kAuto},
                                                            {"required", Kind::kRequired},
                                                            {"any", Kind::kRequired}};  // Mistral's
  for (const auto& [word, kind] : words) {
    if (value == word) {
      draft.tool_choice.kind = kind;
      return;
    }
  }
  if (!value.is_object()) refuse_value(name, "none, auto, required or an object that names a function", value);
  static const Fields<ChatDraft> fields = {
      only<ChatDraft>("type", {"function", "allowed_tools"}), custom<ChatDraft>("function", set_chosen_function),
      custom<ChatDraft>("allowed_tools", [](ChatDraft& d, const std::string& n, const Json& v) {
        set_allowed_tools(d.tool_choice, n, v);
      })};
  read_fields<ChatDraft>(draft, value, fields, name + ".");
  if (!draft.tool_choice.allowed.empty()) return;
  check_present(value, {"function"}, name + ".");
  draft.tool_choice.kind = Kind::kNamed;
}

// The deprecated form: "none", "auto" or {"name": ...}.
void set_function_call(ChatDraft& draft, const std::string& name, const Json& value) {
  if (value == "none" || value == "auto") return set_tool_choice(draft, name, value);
  if (!value.is_object()) refuse_value(name, "none, auto or an object that names a function", value);
  set_chosen_function(draft, name, value);
  draft.tool_choice.kind = chat::ToolChoice::Kind::kNamed;
}

// `functions`, where there are some, as tools of which one at most is called.
void take_functions(ChatDraft& draft) {
  if (draft.functions_as_tools.is_null()) return;
  if (!draft.prompt.tools.is_null())
    refuse_value("functions", "absent where there are tools", draft.functions_as_tools);
  draft.prompt.tools = std::move(draft.functions_as_tools);
  draft.prompt.parallel_calls = false;
  draft.functions = true;
}

Fields<ChatDraft> chat_fields() {
  using D = ChatDraft;
  Fields<D> fields = generation_fields<D>();
  const Field<D> more[] = {
      custom<D>("messages", [](D& d, const std::string&, const Json& v) { d.prompt.messages = normalise_messages(v); }),
      custom<D>("tools", [](D& d, const std::string&, const Json& v) { d.prompt.tools = check_tools(v); }),
      custom<D>("tool_choice", set_tool_choice),
      custom<D>("chat_template_kwargs",
                [](D& d, const std::string& name, const Json& v) {
                  d.prompt.template_variables = to_template_variables(name, v);
                }),
      integer<D>("max_completion_tokens", 1, kMaxCount,
                 [](D& d, std::int64_t v) { d.max_completion_tokens = static_cast<std::uint32_t>(v); }),
      boolean<D>("logprobs", [](D& d, bool v) { d.logprobs = v; }),
      integer<D>("top_logprobs", 0, 20, [](D& d, std::int64_t v) { d.top_logprobs = static_cast<std::uint32_t>(v); }),

      no_effect<D>("metadata", Json::value_t::object),
      no_effect<D>("store", Json::value_t::boolean),
      no_effect<D>("safety_identifier", Json::value_t::string),
      no_effect<D>("prompt_cache_key", Json::value_t::string),
      boolean<D>("parallel_tool_calls", [](D& d, bool v) { d.prompt.parallel_calls = v; }),
      only<D>("service_tier", {"auto", "default"}),
      only<D>("modalities", {{"text"}}),
      only<D>("verbosity", {"medium"}),
      string<D>("reasoning_effort", [](D& d, const std::string& v) { d.prompt.reasoning_effort = v; }),
      only<D>("prediction", {}),
      only<D>("audio", {}),
      only<D>("web_search_options", {}),
      only<D>("moderation", {}),
      // Mistral's and Groq's clients.
      integer<D>("random_seed", INT64_MIN, INT64_MAX,
                 [](D& d, std::int64_t v) { d.request.sampling.seed = static_cast<std::uint64_t>(v); }),
      only<D>("safe_prompt", {false}),
      only<D>("guardrails", {Json::array()}),
      only<D>("reasoning_format", {"parsed"}),
      only<D>("include_reasoning", {true}),
      custom<D>("functions",
                [](D& d, const std::string&, const Json& v) { d.functions_as_tools = tools_of_functions(v); }),
      custom<D>("function_call", set_function_call),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  const Fields<D> cache = cache_fields<D>();
  fields.insert(fields.end(), cache.begin(), cache.end());
  return fields;
}

}  // namespace

ChatBody parse_chat(std::string_view body) {
  static const Fields<ChatDraft> fields = chat_fields();
  const Json json = parse_json(body);
  ChatDraft draft;
  read_fields<ChatDraft>(draft, to_object("body", json), fields);
  if (draft.prompt.messages.is_null()) refuse_missing("messages");
  take_prefix(draft.prompt, json["messages"]);
  if (draft.constraint && !draft.prompt.prefill.empty())
    refuse_value(draft.constraint->param, "absent where the last message is the answer's beginning", Json::object());
  take_functions(draft);
  apply_tool_choice(draft.prompt, draft.tool_choice, draft.functions ? "function_call" : "tool_choice");
  if (draft.top_logprobs.value_or(0) > 0 && !draft.logprobs) {
    refuse_value("top_logprobs", "absent or 0 where 'logprobs' is not true", *draft.top_logprobs);
  }
  if (draft.logprobs) draft.request.logprobs = draft.top_logprobs.value_or(0);
  finish_generation(draft);
  return draft;
}

}  // namespace nacelle::openai
