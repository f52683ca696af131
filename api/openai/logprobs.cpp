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

LogprobList::LogprobList(const Tokenizer& tokenizer, Shape shape)
    : tokenizer_(tokenizer), shape_(shape), list_(empty()) {}

Json LogprobList::empty() const {
  if (shape_ == Shape::kChat) return {{"content", Json::array()}, {"refusal", nullptr}};
  return {{"tokens", Json::array()},
          {"token_logprobs", Json::array()},
          {"top_logprobs", Json::array()},
          {"text_offset", Json::array()}};
}

void LogprobList::add(const TokenLogprob& token) {
  shape_ == Shape::kChat ? add_chat(token) : add_text(token, token.top.size());
}

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

// Of several tokens with one text the likeliest counts. The token itself is there too, as in OpenAI's answers.
void LogprobList::add_text(const TokenLogprob& token, std::size_t most) {
  const std::string_view bytes = tokenizer_.token_bytes(token.id);
  Json top = Json::object();
  for (const auto& [id, logprob] : std::span(token.top).first(std::min(most, token.top.size())))
    top.emplace(token_name(tokenizer_.token_bytes(id)), finite(logprob));
  top.emplace(token_name(bytes), finite(token.logprob));
  list_["tokens"].push_back(token_name(bytes));
  list_["token_logprobs"].push_back(finite(token.logprob));
  list_["top_logprobs"].push_back(std::move(top));
  list_["text_offset"].push_back(offset_);
  offset_ += count_code_points(bytes);
}

// A token that the text does not show, as the one that a tokenizer begins with, takes no room in it; a first token may
// have a space that the text lacks.
void LogprobList::add_prompt(std::span<const TokenLogprob> tokens, std::string_view echo, std::size_t most) {
  const std::size_t end = count_code_points(echo);
  for (const TokenLogprob& token : tokens) {
    std::string_view shown = tokenizer_.token_bytes(token.id);
    if (offset_ == 0 && shown.starts_with(' ') && !echo.starts_with(' ')) shown.remove_prefix(1);
    if (!echo.starts_with(shown)) shown = {};
    const std::size_t offset = offset_;
    add_text(token, most);
    offset_ = offset + count_code_points(shown);
    echo.remove_prefix(shown.size());
  }
  list_["token_logprobs"].front() = list_["top_logprobs"].front() = nullptr;
  offset_ = end;
}

Json prompt_logprobs_json(const Tokenizer& tokenizer, std::span<const TokenLogprob> tokens, std::size_t most) {
  Json list = Json::array({nullptr});
  for (const TokenLogprob& token : tokens.subspan(1)) {
    Json item = Json::object();
    const auto add = [&](TokenId id, float logprob, std::size_t rank) {
      item.emplace(std::to_string(id),
                   Json{{"logprob", finite(logprob)},
                        {"rank", rank},
                        {"decoded_token", tokenizer.token_bytes(id)}});  // invalid UTF-8: see to_text
    };
    add(token.id, token.logprob, token.rank);
    for (std::size_t i = 0; i < std::min(most, token.top.size()); ++i)
      add(token.top[i].first, token.top[i].second, i + 1);
    list.push_back(std::move(item));
  }
  return list;
}

Json LogprobList::take() { return std::exchange(list_, empty()); }

}  // namespace nacelle::openai
