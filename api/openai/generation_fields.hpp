// The fields that chat and text completions share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "api/openai/names.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {

// A body while it is read: fields that only mean something together with others.
template <class Body>
struct Draft : Body {
  std::optional<std::uint32_t> max_tokens, max_completion_tokens;
  bool has_stream_options = false;
  // Chat: logprobs is a boolean and top_logprobs a count. Text: logprobs is the count.
  bool logprobs = false;
  std::optional<std::uint32_t> top_logprobs;
  std::uint32_t candidates = 0;  // text: best_of
};

void set_stop(GenerationRequest& request, const std::string& name, const Json& value);
void set_logit_bias(GenerationRequest& request, const std::string& name, const Json& value);
void set_stream_options(GenerationBody& body, const std::string& name, const Json& value);

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr std::int64_t kMaxCount = INT32_MAX;  // of tokens; the model's context is the true limit

// How the next token is chosen: of every API.
template <class T>
Fields<T> sampling_fields() {
  return {
      boolean<T>("ignore_eos", [](T& b, bool v) { b.request.ignore_eos = v; }),
      integer<T>("min_tokens", 0, kMaxCount,  // vLLM's
                 [](T& b, std::int64_t v) { b.request.min_tokens = static_cast<std::uint32_t>(v); }),
      integer<T>("seed", INT64_MIN, INT64_MAX,
                 [](T& b, std::int64_t v) { b.request.sampling.seed = static_cast<std::uint64_t>(v); }),
      number<T>("temperature", 0, 2, [](T& b, double v) { b.request.sampling.temperature = static_cast<float>(v); }),
      number<T>("top_p", 0, 1, [](T& b, double v) { b.request.sampling.top_p = static_cast<float>(v); }),
      integer<T>("top_k", -1, kMaxCount,  // -1, as some clients say it, and 0: off
                 [](T& b, std::int64_t v) {
                   b.request.sampling.top_k = static_cast<std::uint32_t>(std::max<std::int64_t>(v, 0));
                 }),
      number<T>("min_p", 0, 1, [](T& b, double v) { b.request.sampling.min_p = static_cast<float>(v); }),
      number<T>("typical_p", 0, 1, [](T& b, double v) { b.request.sampling.typical_p = static_cast<float>(v); }),
      number<T>("repetition_penalty", 0.01, 100,
                [](T& b, double v) { b.request.sampling.repetition_penalty = static_cast<float>(v); }),
      number<T>("frequency_penalty", -2, 2,
                [](T& b, double v) { b.request.sampling.frequency_penalty = static_cast<float>(v); }),
      number<T>("presence_penalty", -2, 2,
                [](T& b, double v) { b.request.sampling.presence_penalty = static_cast<float>(v); }),
      custom<T>("logit_bias", [](T& b, const std::string& name, const Json& v) { set_logit_bias(b.request, name, v); }),
      string<T>("cache_salt", [](T& b, const std::string& v) { b.request.cache_salt = v; }),
      integer<T>("priority", INT32_MIN, INT32_MAX,  // lower is served first, as vLLM has it
                 [](T& b, std::int64_t v) { b.request.priority = static_cast<std::int32_t>(v); }),
      number<T>(
          "timeout", 0.001, 86400,  // seconds for the whole answer
          [](T& b, double v) { b.request.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(v * 1000)); }),
  };
}

// How long OpenAI keeps a prompt's prefix: accepted where it is what happens anyway.
template <class T>
Fields<T> cache_fields() {
  return {only<T>("prompt_cache_retention", {"in_memory"}),
          custom<T>("prompt_cache_options", [](T& b, const std::string& name, const Json& v) {
            static const Fields<T> fields = {only<T>("mode", {"implicit"}), only<T>("ttl", {})};
            read_fields<T>(b, to_object(name, v), fields, name + ".");
          })};
}

// And what OpenAI's two older routes share beside it. `least_tokens`: the least that max_tokens may be.
template <class T>
Fields<T> generation_fields(std::int64_t least_tokens = 1) {
  Fields<T> fields = sampling_fields<T>();
  const Field<T> more[] = {
      string<T>("model", [](T& b, const std::string& v) { b.model = v; }),
      integer<T>("n", 1, 128, [](T& b, std::int64_t v) { b.n = static_cast<std::uint32_t>(v); }),
      boolean<T>("stream", [](T& b, bool v) { b.stream = v; }),
      custom<T>("stream_options",
                [](T& b, const std::string& name, const Json& v) {
                  b.has_stream_options = true;
                  set_stream_options(b, name, v);
                }),
      integer<T>("max_tokens", least_tokens, kMaxCount,
                 [](T& b, std::int64_t v) { b.max_tokens = static_cast<std::uint32_t>(v); }),
      custom<T>("stop", [](T& b, const std::string& name, const Json& v) { set_stop(b.request, name, v); }),
      integer<T>("prompt_logprobs", 0, 20,  // vLLM's
                 [](T& b, std::int64_t v) { b.prompt_logprobs = static_cast<std::uint32_t>(v); }),
      no_effect<T>("user", Json::value_t::string),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  const Fields<T> constraints = constraint_fields<T>();
  fields.insert(fields.end(), constraints.begin(), constraints.end());
  return fields;
}

// What only the whole of the fields can tell: throws RequestError(400).
template <class T>
void finish_generation(T& draft) {
  if (draft.has_stream_options && !draft.stream) {
    refuse_value("stream_options", "absent where 'stream' is not true", Json::object());
  }
  if (draft.prompt_logprobs && draft.stream)
    refuse_value("prompt_logprobs", "absent where 'stream' is true", *draft.prompt_logprobs);
  draft.request.prompt_logprobs = draft.prompt_logprobs;
  if (draft.constraint && draft.request.ignore_eos) {
    refuse_value("ignore_eos", "absent or false beside '" + draft.constraint->param + "'", true);
  }
  if (draft.max_tokens && draft.max_completion_tokens && draft.max_tokens != draft.max_completion_tokens) {
    refuse_value("max_tokens", "equal to 'max_completion_tokens' where both are given", *draft.max_tokens);
  }
  if (draft.max_completion_tokens) draft.max_tokens = draft.max_completion_tokens;
  draft.request.max_tokens = draft.max_tokens.value_or(draft.request.max_tokens);
}

}  // namespace nacelle::openai
