#include "api/openai/embedding_request.hpp"

#include <algorithm>

#include "api/openai/names.hpp"

namespace nacelle::openai {
namespace {

constexpr std::size_t kMaxInputs = 2048;  // OpenAI's

void set_encoding(EmbeddingBody& body, const std::string& name, const Json& value) {
  if (value != "float" && value != "base64") refuse_value(name, "float or base64", value);
  body.base64 = value == "base64";
}

void set_pooling(EmbeddingBody& body, const std::string& name, const Json& value) {
  if (value != "last" && value != "mean") refuse_value(name, "last or mean", value);
  body.mean = value == "mean";
}

void set_documents(RerankBody& body, const std::string& name, const Json& value) {
  static const Fields<std::string> fields = {
      string<std::string>("text", [](std::string& text, const std::string& v) { text = v; })};
  if (to_array(name, value).empty()) refuse_value(name, "a list of at least one document", value);
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string place = element(name, i);
    std::string& text = body.documents.emplace_back();
    if (!value[i].is_object()) {
      text = to_string(place, value[i]);
    } else {
      check_present(value[i], {"text"}, place + ".");
      read_fields<std::string>(text, value[i], fields, place + ".");
    }
  }
}

}  // namespace

std::vector<Prompt> to_inputs(const std::string& name, const Json& value) {
  constexpr const char* kExpected = "a string, a list of strings, a list of token ids or a list of such lists";
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array() || value.empty()) refuse_value(name, kExpected, value);
  if (value.front().is_number()) return {to_tokens(name, value)};
  if (value.size() > kMaxInputs) refuse_value(name, "a list of at most 2048 inputs", value);
  std::vector<Prompt> inputs;
  const bool texts = value.front().is_string(), lists = value.front().is_array();
  if (!texts && !lists) refuse_value(element(name, 0), "a string, a token id or a list of token ids", value.front());
  for (const Json& item : value) {
    const std::string place = element(name, inputs.size());
    if (texts) {
      inputs.emplace_back(to_string(place, item));
    } else if (item.is_array() && !item.empty()) {
      inputs.emplace_back(to_tokens(place, item));
    } else {
      refuse_value(place, "a list of at least one token id", item);
    }
  }
  return inputs;
}

EmbeddingBody parse_embedding(std::string_view body) {
  using E = EmbeddingBody;
  static const Fields<E> fields = {
      string<E>("model", [](E& e, const std::string& v) { e.model = v; }),
      custom<E>("input",
                [](E& e, const std::string& n, const Json& v) {
                  e.inputs = to_inputs(n, v);
                  e.one_list = v.is_array() && v.front().is_number();
                }),
      custom<E>("encoding_format", set_encoding),
      boolean<E>("normalize", [](E& e, bool v) { e.normalize = v; }),
      custom<E>("pooling", set_pooling),
      only<E>("dimensions", {}),
      only<E>("output_dimension", {}),  // Mistral's
      only<E>("output_dtype", {"float"}),
      no_effect<E>("metadata", Json::value_t::object),
      no_effect<E>("user", Json::value_t::string),
  };
  const Json json = parse_json(body);
  E parsed;
  read_fields<E>(parsed, to_object("body", json), fields);
  if (parsed.inputs.empty()) refuse_missing("input");
  return parsed;
}

RerankBody parse_rerank(std::string_view body) {
  using Body = RerankBody;
  static const Fields<Body> fields = {
      string<Body>("model", [](Body& r, const std::string& v) { r.model = v; }),
      string<Body>("query", [](Body& r, const std::string& v) { r.query = v; }),
      custom<Body>("documents", set_documents),
      integer<Body>("top_n", 1, INT32_MAX, [](Body& r, std::int64_t v) { r.top_n = static_cast<std::size_t>(v); }),
      boolean<Body>("return_documents", [](Body& r, bool v) { r.return_documents = v; }),
  };
  const Json json = parse_json(body);
  Body parsed;
  read_fields<Body>(parsed, to_object("body", json), fields);
  if (parsed.query.empty()) refuse_missing("query");
  if (parsed.documents.empty()) refuse_missing("documents");
  return parsed;
}

std::string to_base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

}  // namespace nacelle::openai
