#include "api/openai/shapes.hpp"

#include <utility>

namespace nacelle::openai {
namespace {

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json finish_json(FinishReason reason) {
  return reason == FinishReason::kNone ? Json(nullptr) : Json(to_string(reason));
}

Json envelope(const AnswerHead& head, Json choices) {
  const char* object = !head.chat ? "text_completion" : head.stream ? "chat.completion.chunk" : "chat.completion";
  Json json = {{"id", head.id},
               {"object", object},
               {"created", head.created},
               {"model", head.model},
               {"choices", std::move(choices)}};
  if (head.stream && head.include_usage) json["usage"] = nullptr;
  json["system_fingerprint"] = head.fingerprint;
  return json;
}

// `name` and `content`: "message" or "delta" and its object, or "text" and a string.
Json choice_json(std::uint32_t index, const char* name, Json content, Json logprobs, FinishReason finish) {
  return {{"index", index},
          {name, std::move(content)},
          {"logprobs", std::move(logprobs)},
          {"finish_reason", finish_json(finish)}};
}

std::string one_choice(const AnswerHead& head, Json choice) {
  return to_text(envelope(head, Json::array({std::move(choice)})));
}

}  // namespace

std::string whole_answer(const AnswerHead& head, const std::vector<ChoicePart>& choices, const Usage& usage) {
  Json list = Json::array();
  for (const ChoicePart& part : choices) {
    Json content = part.text;
    if (head.chat) content = {{"role", "assistant"}, {"content", part.text}, {"refusal", nullptr}};
    list.push_back(
        choice_json(part.index, head.chat ? "message" : "text", std::move(content), part.logprobs, part.finish));
  }
  Json json = envelope(head, std::move(list));
  json["usage"] = usage_json(usage);
  return to_text(json);
}

std::string role_chunk(const AnswerHead& head, std::uint32_t index) {
  Json delta = {{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}};
  return one_choice(head, choice_json(index, "delta", std::move(delta), nullptr, FinishReason::kNone));
}

std::string chunk(const AnswerHead& head, const ChoicePart& part) {
  Json content = part.text;
  if (head.chat) content = part.text.empty() ? Json::object() : Json{{"content", part.text}};
  return one_choice(
      head, choice_json(part.index, head.chat ? "delta" : "text", std::move(content), part.logprobs, part.finish));
}

std::string usage_chunk(const AnswerHead& head, const Usage& usage) {
  Json json = envelope(head, Json::array());
  json["usage"] = usage_json(usage);
  return to_text(json);
}

}  // namespace nacelle::openai
