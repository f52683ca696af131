#include "api/openai/generation_fields.hpp"

#include <charconv>

#include "api/http/message.hpp"

namespace nacelle::openai {
namespace {

constexpr std::size_t kMaxStops = 4;         // OpenAI's limit
constexpr std::size_t kMaxStopBytes = 1024;  // each is looked for at every token
constexpr std::size_t kMaxBiases = 16'384;

const std::string& to_stop(const std::string& name, const Json& value) {
  const std::string& text = to_string(name, value);
  if (text.empty() || text.size() > kMaxStopBytes) refuse_value(name, "a string of 1 to 1024 bytes", value);
  return text;
}

}  // namespace

void set_stop(GenerationRequest& request, const std::string& name, const Json& value) {
  if (value.is_string()) {
    request.stop = {to_stop(name, value)};
    return;
  }
  if (!value.is_array() || value.size() > kMaxStops) refuse_value(name, "a string or up to 4 strings", value);
  for (std::size_t i = 0; i < value.size(); ++i) request.stop.push_back(to_stop(element(name, i), value[i]));
}

void set_logit_bias(GenerationRequest& request, const std::string& name, const Json& value) {
  if (to_object(name, value).size() > kMaxBiases) refuse_value(name, "an object of at most 16384 tokens", value);
  for (const auto& [key, bias] : value.items()) {
    TokenId token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0) {
      refuse_value(name, "an object whose names are token ids", Json(key));
    }
    const double number = to_number(name + "." + key, bias, -100, 100);
    request.sampling.logit_bias.emplace_back(token, static_cast<float>(number));
  }
}

void set_stream_options(GenerationBody& body, const std::string& name, const Json& value) {
  static const Fields<GenerationBody> fields = {
      boolean<GenerationBody>("include_usage", [](GenerationBody& b, bool v) { b.include_usage = v; }),
      only<GenerationBody>("include_obfuscation", {false}),
  };
  read_fields<GenerationBody>(body, to_object(name, value), fields, name + ".");
}

}  // namespace nacelle::openai
