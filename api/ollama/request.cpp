#include "api/ollama/request.hpp"

#include <utility>

#include "api/fields/constraint_fields.hpp"
#include "api/http/message.hpp"
#include "api/ollama/option_fields.hpp"

namespace nacelle::ollama {
namespace {

using fields::boolean;
using fields::custom;
using fields::Field;
using fields::Fields;
using fields::integer;
using fields::Json;
using fields::number;
using fields::only;
using fields::read_fields;
using fields::refuse_missing;
using fields::refuse_value;
using fields::string;
using fields::to_string;

constexpr std::size_t kMaxInputs = 2048;  // as OpenAI's route takes

struct Logprobs {
  bool wanted = false;
  std::int64_t top = 0;
};

template <class Body>
struct Draft : Body {
  Logprobs logprobs;
};

template <class D>
void add(Fields<D>& fields, std::initializer_list<Field<D>> more) {
  fields.insert(fields.end(), more.begin(), more.end());
}

Json parse_object(std::string_view body) {
  Json json = fields::parse_json(body);
  fields::to_object("body", json);
  return json;
}

// ---- What answers have in common

// "json", a JSON Schema, or "" for none.
void set_format(std::optional<constrain::ConstraintSpec>& constraint, const std::string& name, const Json& value) {
  if (value == "") return;
  if (value == "json") {
    constraint = constrain::ConstraintSpec{constrain::ConstraintSpec::Kind::kJsonObject, "", {}, name};
    return;
  }
  if (!value.is_object()) refuse_value(name, "\"json\" or a JSON Schema", value);
  fields::set_schema(constraint, name, value);
}

void set_think(std::optional<Think>& think, const std::string& name, const Json& value) {
  if (value.is_boolean()) {
    think = Think{value.get<bool>(), ""};
    return;
  }
  if (value != "low" && value != "medium" && value != "high" && value != "max")
    refuse_value(name, "true, false, \"low\", \"medium\", \"high\" or \"max\"", value);
  think = Think{true, value.get<std::string>()};
}

template <class D>
Fields<D> answer_fields() {
  return {
      string<D>("model", [](D& d, const std::string& v) { d.model = v; }),
      boolean<D>("stream", [](D& d, bool v) { d.stream = v; }),
      custom<D>("format", [](D& d, const std::string& n, const Json& v) { set_format(d.constraint, n, v); }),
      custom<D>("options",
                [](D& d, const std::string& n, const Json& v) {
                  Options options = read_options(n, v);
                  d.request = std::move(options.request);
                  d.context = options.context;
                }),
      custom<D>("keep_alive", [](D& d, const std::string& n, const Json& v) { d.unload = keeps_nothing(n, v); }),
      custom<D>("think", [](D& d, const std::string& n, const Json& v) { set_think(d.think, n, v); }),
      boolean<D>("truncate", [](D& d, bool v) { d.truncate = v; }),
      only<D>("shift", {false}),
      boolean<D>("logprobs", [](D& d, bool v) { d.logprobs.wanted = v; }),
      integer<D>("top_logprobs", 0, 20, [](D& d, std::int64_t v) { d.logprobs.top = v; }),
      only<D>("_debug_render_only", {false}),
  };
}

template <class D>
D read_answer(std::string_view body, const Fields<D>& fields) {
  const Json json = parse_object(body);
  D draft;
  draft.request = default_request();
  read_fields<D>(draft, json, fields);
  if (draft.model.empty()) refuse_missing("model");
  if (draft.logprobs.wanted) draft.request.logprobs = static_cast<std::uint32_t>(draft.logprobs.top);
  if (draft.logprobs.top > 0 && !draft.logprobs.wanted)
    refuse_value("top_logprobs", "absent or 0 where 'logprobs' is not true", Json(draft.logprobs.top));
  return draft;
}

// ---- Chats

// What the AI SDK's `ollama-ai-provider-v2` puts beside `options`, where Ollama does not look: taken as it is meant.
struct ChatDraft : Draft<ChatBody> {
  std::optional<double> temperature, top_p;
  std::optional<std::int64_t> max_output_tokens;
  chat::ToolChoice tool_choice;
};

void set_tool_choice(ChatDraft& draft, const std::string& name, const Json& value) {
  using Kind = chat::ToolChoice::Kind;
  static const std::pair<std::string_view, Kind> words[] = {
      {"none", Kind::kNone}, {"auto", Kind::kAuto}, {"required", Kind::kRequired}};
  for (const auto& [word, kind] : words)
    if (value == word) return void(draft.tool_choice.kind = kind);
  if (!value.is_object()) refuse_value(name, "none, auto, required or an object that names a function", value);
  static const Fields<ChatDraft> function = {
      string<ChatDraft>("name", [](ChatDraft& d, const std::string& v) { d.tool_choice.name = v; })};
  static const Fields<ChatDraft> fields = {
      only<ChatDraft>("type", {"function"}), function.front(),
      custom<ChatDraft>("function", [](ChatDraft& d, const std::string& n, const Json& v) {
        read_fields<ChatDraft>(d, fields::to_object(n, v), function, n + ".");
      })};
  read_fields<ChatDraft>(draft, value, fields, name + ".");
  if (draft.tool_choice.name.empty()) refuse_missing(name + ".name");
  draft.tool_choice.kind = Kind::kNamed;
}

void take_beside(ChatDraft& draft) {
  SamplingParams& sampling = draft.request.sampling;
  if (draft.temperature) sampling.temperature = static_cast<float>(*draft.temperature);
  if (draft.top_p) sampling.top_p = static_cast<float>(*draft.top_p);
  if (draft.max_output_tokens) draft.request.max_tokens = static_cast<std::uint32_t>(*draft.max_output_tokens);
  openai::apply_tool_choice(draft.prompt, draft.tool_choice, "tool_choice");
}

// A last message of the assistant's is the beginning of the answer.
void take_prefill(Draft<ChatBody>& draft) {
  Json& messages = draft.prompt.messages;
  if (messages.empty() || messages.back()["role"] != "assistant" || messages.back().contains("tool_calls")) return;
  const Json last = messages.back();
  const std::string path = "messages[" + std::to_string(messages.size() - 1) + "]";
  if (last.contains("reasoning_content"))
    refuse_value(path + ".thinking", "absent in a last message that the answer goes on from",
                 last["reasoning_content"]);
  if (messages.size() == 1)
    refuse_value("messages", "a list in which something is said before the answer's beginning", Json::array());
  messages.erase(messages.size() - 1);
  draft.prompt.prefill = last["content"].get<std::string>();
  if (draft.constraint && !draft.prompt.prefill.empty())
    refuse_value("format", "absent where the last message is the assistant's", Json::object());
}

// ---- Single prompts

// Go's language is not Jinja's.
void refuse_template(Draft<GenerateBody>&, const std::string& name, const Json& value) {
  if (to_string(name, value).empty()) return;
  throw http::RequestError({400,
                            "'" + name +
                                "': templates in Ollama's language are not read; leave it out for the model's own, or "
                                "send the whole text as 'prompt' with 'raw': true",
                            name, "unsupported_parameter"});
}

// Of a prompt that is the whole text, or has a hole in it.
void check_raw(const Draft<GenerateBody>& body) {
  const auto refuse = [](const char* name, const char* beside) {
    throw http::RequestError(
        {400, "'" + std::string(name) + "' must be absent beside '" + beside + "'", name, "invalid_value"});
  };
  const char* beside = body.raw ? "raw" : "suffix";
  if (body.raw && !body.suffix.empty()) refuse("suffix", beside);
  if (!body.raw && body.suffix.empty()) return;
  if (!body.system.empty()) refuse("system", beside);
  if (!body.before.empty()) refuse("context", beside);
  if (body.think && body.think->on) refuse("think", beside);
}

// ---- Embeddings

void set_inputs(EmbedBody& body, const std::string& name, const Json& value) {
  if (value.is_string()) {
    if (value != "") body.inputs = {value.get<std::string>()};
    return;
  }
  if (!value.is_array() || value.size() > kMaxInputs)
    refuse_value(name, "a string or a list of at most 2048 strings", value);
  for (std::size_t i = 0; i < value.size(); ++i)
    body.inputs.push_back(to_string(name + "[" + std::to_string(i) + "]", value[i]));
}

Fields<EmbedBody> embed_fields() {
  using E = EmbedBody;
  return {
      string<E>("model", [](E& e, const std::string& v) { e.model = v; }),
      custom<E>("keep_alive", [](E& e, const std::string& n, const Json& v) { e.unload = keeps_nothing(n, v); }),
      custom<E>("options", [](E& e, const std::string& n, const Json& v) { e.context = read_options(n, v).context; }),
  };
}

// What asks for a model and no answer.
template <class B>
B read_named(std::string_view body, const Fields<B>& fields) {
  const Json json = parse_object(body);
  B parsed;
  read_fields<B>(parsed, json, fields);
  if (parsed.model.empty()) refuse_missing("model");
  return parsed;
}

// "model", or "name" as older clients say it.
template <class B>
Fields<B> name_fields() {
  return {string<B>("model", [](B& b, const std::string& v) { b.model = v; }),
          string<B>("name", [](B& b, const std::string& v) {
            if (b.model.empty()) b.model = v;
          })};
}

}  // namespace

ChatBody parse_chat(std::string_view body) {
  using D = ChatDraft;
  static const Fields<D> fields = [] {
    Fields<D> all = answer_fields<D>();
    add(all,
        {number<D>("temperature", 0, 100, [](D& d, double v) { d.temperature = v; }),
         number<D>("top_p", 0, 1, [](D& d, double v) { d.top_p = v; }),
         integer<D>("max_output_tokens", 1, INT32_MAX, [](D& d, std::int64_t v) { d.max_output_tokens = v; }),
         custom<D>("tool_choice", set_tool_choice),
         custom<D>("messages",
                   [](D& d, const std::string& n, const Json& v) { d.prompt.messages = read_messages(n, v); }),
         custom<D>("tools", [](D& d, const std::string&, const Json& v) { d.prompt.tools = openai::check_tools(v); })});
    return all;
  }();
  D draft = read_answer<D>(body, fields);
  if (draft.prompt.messages.is_null()) draft.prompt.messages = Json::array();
  take_beside(draft);
  take_prefill(draft);
  return draft;
}

GenerateBody parse_generate(std::string_view body) {
  using D = Draft<GenerateBody>;
  static const Fields<D> fields = [] {
    Fields<D> all = answer_fields<D>();
    add(all,
        {string<D>("prompt", [](D& d, const std::string& v) { d.prompt = v; }),
         string<D>("suffix", [](D& d, const std::string& v) { d.suffix = v; }),
         string<D>("system", [](D& d, const std::string& v) { d.system = v; }), custom<D>("template", refuse_template),
         boolean<D>("raw", [](D& d, bool v) { d.raw = v; }),
         custom<D>("context", [](D& d, const std::string& n, const Json& v) { d.before = fields::to_tokens(n, v); }),
         custom<D>("images", [](D&, const std::string& n, const Json& v) { refuse_images(n, v); })});
    return all;
  }();
  D draft = read_answer<D>(body, fields);
  check_raw(draft);
  return draft;
}

EmbedBody parse_embed(std::string_view body) {
  using E = EmbedBody;
  static const Fields<E> fields = [] {
    Fields<E> all = embed_fields();
    add(all, {custom<E>("input", set_inputs), boolean<E>("truncate", [](E& e, bool v) { e.truncate = v; }),
              integer<E>("dimensions", 0, INT32_MAX,
                         [](E& e, std::int64_t v) { e.dimensions = static_cast<std::uint32_t>(v); })});
    return all;
  }();
  return read_named<EmbedBody>(body, fields);
}

EmbedBody parse_embeddings(std::string_view body) {
  using E = EmbedBody;
  static const Fields<E> fields = [] {
    Fields<E> all = embed_fields();
    add(all, {string<E>("prompt", [](E& e, const std::string& v) {
          if (!v.empty()) e.inputs = {v};
        })});
    return all;
  }();
  EmbedBody parsed = read_named<EmbedBody>(body, fields);
  parsed.truncate = false;
  return parsed;
}

ShowBody parse_show(std::string_view body) {
  using B = ShowBody;
  static const Fields<B> fields = [] {
    Fields<B> all = name_fields<B>();
    add(all, {boolean<B>("verbose", [](B& b, bool v) { b.verbose = v; }), only<B>("system", {""}),
              only<B>("template", {""}), only<B>("options", {Json::object()})});
    return all;
  }();
  return read_named<B>(body, fields);
}

PullBody parse_pull(std::string_view body) {
  using B = PullBody;
  static const Fields<B> fields = [] {
    Fields<B> all = name_fields<B>();
    add(all, {boolean<B>("stream", [](B& b, bool v) { b.stream = v; }), boolean<B>("insecure", [](B&, bool) {}),
              only<B>("username", {""}), only<B>("password", {""})});
    return all;
  }();
  return read_named<B>(body, fields);
}

}  // namespace nacelle::ollama
