#include "api/openai/logprobs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nacelle::openai {
namespace {

constexpr float kLowest = -9999.0f;  // stands for minus infinity, as in OpenAI's answers: JSON has no infinities

float finite(float logprob) { return std::max(logprob, kLowest); }

// Parts of code points as "bytes:\xe2\x82", so that different tokens stay different names.
std::string token_name(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string name = "bytes:";
  for (const char c : bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return name;
}

}  // namespace

std::size_t count_code_points(std::string_view utf8) noexcept {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

LogprobList::LogprobList(const Tokenizer& tokenizer, Shape shape, std::size_t offset)
    : tokenizer_(tokenizer), shape_(shape), offset_(offset), list_(empty()) {}

Json LogprobList::empty() const {
  if (shape_ == Shape::kChat) return {{"content", Json::array()}, {"refusal", nullptr}};
  return {{"tokens", Json::array()},
          {"token_logprobs", Json::array()},
          {"top_logprobs", Json::array()},
          {"text_offset", Json::array()}};
}

void LogprobList::add(const TokenLogprob& token) { shape_ == Shape::kChat ? add_chat(token) : add_text(token); }

void LogprobList::add_chat(const TokenLogprob& token) {
  const auto entry = [this](TokenId id, float logprob) -> Json {
    const std::string_view bytes = tokenizer_.token_bytes(id);
    return {{"token", bytes}, {"logprob", finite(logprob)}, {"bytes", byte_list(bytes)}};  // invalid UTF-8: see to_text
  };
  Json item = entry(token.id, token.logprob);
  Json& top = item["top_logprobs"] = Json::array();
  for (const auto& [id, logprob] : token.top) top.push_back(entry(id, logprob));
  list_["content"].push_back(std::move(item));
}

void LogprobList::add_text(const TokenLogprob& token) {
  const std::string_view bytes = tokenizer_.token_bytes(token.id);
  list_["tokens"].push_back(token_name(bytes));
  list_["token_logprobs"].push_back(finite(token.logprob));
  Json top = Json::object();
  for (const auto& [id, logprob] : token.top) top[token_name(tokenizer_.token_bytes(id))] = finite(logprob);
  list_["top_logprobs"].push_back(std::move(top));
  list_["text_offset"].push_back(offset_);
  offset_ += count_code_points(bytes);
}

Json LogprobList::take() { return std::exchange(list_, empty()); }

}  // namespace nacelle::openai
