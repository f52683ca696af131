#include "api/takeoff/request.hpp"

#include "api/fields/constraint_fields.hpp"
#include "api/fields/fields.hpp"
#include "api/http/message.hpp"

namespace nacelle::takeoff {
namespace {

using fields::Fields;
using fields::Json;

constexpr std::size_t kMaxTexts = 256;
constexpr std::uint32_t kDefaultNewTokens = 128;  // Takeoff's
constexpr std::uint32_t kDefaultTopK = 1;         // Takeoff's: greedy

using G = GenerateBody;

template <class Body>
void set_texts(Body& body, const std::string& name, const Json& value) {
  if (value.is_string()) {
    body.texts = {value.get<std::string>()};
    return;
  }
  if (!value.is_array() || value.empty() || value.size() > kMaxTexts) {
    fields::refuse_value(name, "a string or a list of 1 to 256 strings", value);
  }
  body.list = true;
  for (std::size_t i = 0; i < value.size(); ++i) {
    body.texts.push_back(fields::to_string(name + "[" + std::to_string(i) + "]", value[i]));
  }
}

// Text Generation Inference has a /generate too.
void refuse_inputs(G&, const std::string& name, const Json&) {
  throw http::RequestError(
      {400,
       "'inputs' is TGI's, and this /generate is Titan Takeoff's: send the prompt as 'text', or use "
       "/v1/completions or /v1/chat/completions",
       name, "unknown_parameter"});
}

Fields<G> generate_fields() {
  using namespace fields;
  return {
      custom<G>("text", set_texts<G>),
      string<G>("consumer_group", [](G& b, const std::string& v) { b.consumer_group = v; }),
      number<G>("sampling_temperature", 0, 100,
                [](G& b, double v) { b.request.sampling.temperature = static_cast<float>(v); }),
      number<G>("sampling_topp", 0, 1, [](G& b, double v) { b.request.sampling.top_p = static_cast<float>(v); }),
      integer<G>("sampling_topk", 0, INT32_MAX,
                 [](G& b, std::int64_t v) { b.request.sampling.top_k = static_cast<std::uint32_t>(v); }),
      number<G>("repetition_penalty", 0.01, 100,
                [](G& b, double v) { b.request.sampling.repetition_penalty = static_cast<float>(v); }),
      integer<G>("max_new_tokens", 1, INT32_MAX,
                 [](G& b, std::int64_t v) { b.request.max_tokens = static_cast<std::uint32_t>(v); }),
      integer<G>("min_new_tokens", 0, INT32_MAX,
                 [](G& b, std::int64_t v) { b.request.min_tokens = static_cast<std::uint32_t>(v); }),
      only<G>("no_repeat_ngram_size", {0}),
      custom<G>("regex_string",
                [](G& b, const std::string& name, const Json& v) {
                  if (v != "") set_regex(b.constraint, name, v);  // "": none, as Takeoff says it
                }),
      custom<G>("json_schema", [](G& b, const std::string& name, const Json& v) { set_schema(b.constraint, name, v); }),
      only<G>("prompt_max_tokens", {}),
      only<G>("image_path", {}),
      custom<G>("inputs", refuse_inputs),
      string<G>("lora_id", [](G& b, const std::string& v) { b.lora = v; }),
  };
}

}  // namespace

EmbedBody parse_embed(std::string_view body) {
  using E = EmbedBody;
  static const Fields<E> fields = {
      fields::custom<E>("text", set_texts<E>),
      fields::string<E>("consumer_group", [](E& e, const std::string& v) { e.consumer_group = v; }),
  };
  const Json json = fields::parse_json(body);
  E parsed;
  fields::read_fields<E>(parsed, fields::to_object("body", json), fields);
  if (parsed.texts.empty()) fields::refuse_missing("text");
  return parsed;
}

GenerateBody parse_generate(std::string_view body) {
  static const Fields<G> fields = generate_fields();
  const Json json = fields::parse_json(body);
  G parsed;
  parsed.request.max_tokens = kDefaultNewTokens;
  parsed.request.sampling.top_k = kDefaultTopK;
  fields::read_fields<G>(parsed, fields::to_object("body", json), fields);
  if (parsed.texts.empty()) fields::refuse_missing("text");
  if (parsed.request.min_tokens > parsed.request.max_tokens) {
    fields::refuse_value("min_new_tokens", "at most 'max_new_tokens', " + std::to_string(parsed.request.max_tokens),
                         parsed.request.min_tokens);
  }
  return parsed;
}

}  // namespace nacelle::takeoff
