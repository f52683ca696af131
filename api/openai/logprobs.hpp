// Log-probabilities in OpenAI's two shapes, and a prompt's in vLLM's.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "api/openai/names.hpp"
#include "core/engine/request.hpp"

namespace nacelle::openai {

// Collects the tokens of one choice. The tokenizer must outlive it.
class LogprobList {
 public:
  enum class Shape {
    kChat,  // {content: [{token, logprob, bytes, top_logprobs}], refusal}
    kText   // {tokens, token_logprobs, top_logprobs, text_offset}
  };

  LogprobList(const Tokenizer& tokenizer, Shape shape);

  void add(const TokenLogprob& token);
  // kText: the tokens of a prompt, which the choice's text begins with as `echo`; of each at most `most` alternatives.
  void add_prompt(std::span<const TokenLogprob> tokens, std::string_view echo, std::size_t most);
  std::size_t token_bytes(const TokenLogprob& token) const { return tokenizer_.token_bytes(token.id).size(); }
  // What was added since the last call.
  Json take();

 private:
  Json empty() const;
  void add_chat(const TokenLogprob& token);
  void add_text(const TokenLogprob& token, std::size_t most);

  const Tokenizer& tokenizer_;
  const Shape shape_;
  std::size_t offset_ = 0;  // code points of the choice's text before the next token
  Json list_;
};

// [null, {"<id>": {logprob, rank, decoded_token}}, ...]: each token of a prompt with at most `most` alternatives.
Json prompt_logprobs_json(const Tokenizer& tokenizer, std::span<const TokenLogprob> tokens, std::size_t most);

// Code points of `utf8`.
std::size_t count_code_points(std::string_view utf8) noexcept;

}  // namespace nacelle::openai
