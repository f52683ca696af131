// Log-probabilities in OpenAI's two shapes.
#pragma once

#include <cstddef>
#include <string>

#include "api/openai/json.hpp"
#include "core/engine/request.hpp"

namespace nacelle::openai {

// Collects the tokens of one choice. The tokenizer must outlive it.
class LogprobList {
 public:
  enum class Shape {
    kChat,  // {content: [{token, logprob, bytes, top_logprobs}], refusal}
    kText   // {tokens, token_logprobs, top_logprobs, text_offset}
  };

  // `offset`: code points of the choice's text before the first token (an echoed prompt).
  LogprobList(const Tokenizer& tokenizer, Shape shape, std::size_t offset);

  void add(const TokenLogprob& token);
  std::size_t token_bytes(const TokenLogprob& token) const { return tokenizer_.token_bytes(token.id).size(); }
  // What was added since the last call.
  Json take();

 private:
  Json empty() const;
  void add_chat(const TokenLogprob& token);
  void add_text(const TokenLogprob& token);

  const Tokenizer& tokenizer_;
  const Shape shape_;
  std::size_t offset_;
  Json list_;
};

// Code points of `utf8`.
std::size_t count_code_points(std::string_view utf8) noexcept;

}  // namespace nacelle::openai
