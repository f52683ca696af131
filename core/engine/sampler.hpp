// Chooses the next token of a row. The device has already applied penalties, biases and the temperature and hands over
// the best candidates with the row's logsumexp; the whole row is read only when those do not settle the choice.
//
// Order of the stages (docs/sampling.md): repetition penalty, then logit_bias and frequency/presence penalties, then
// the temperature (device); then top_k, typical_p, top_p, min_p, each on what the one before left, renormalised; then
// the draw.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/engine/request.hpp"

namespace nacelle {

// One output row of a step.
class LogitsRow {
 public:
  virtual ~LogitsRow() = default;
  // The largest adjusted logits, largest first; equal ones by smaller id.
  virtual std::span<const std::uint32_t> ids() const = 0;
  virtual std::span<const float> adjusted() const = 0;
  virtual std::span<const float> raw() const = 0;
  virtual float logsumexp_adjusted() const = 0;
  virtual float logsumexp_raw() const = 0;
  // The whole row, [vocabulary]; valid until the next call of either.
  virtual std::span<const float> whole_adjusted() = 0;
  virtual std::span<const float> whole_raw() = 0;

  std::vector<std::uint64_t> keys;  // memory for the sampler, which sorts whole rows by them
};

// The sparse changes of a sequence's logits, kept up to date token by token so that a step only copies them.
class Adjustments {
 public:
  explicit Adjustments(const SamplingParams& params);
  // The model's own `ends` do not come before the answer has so many tokens, unless a grammar allows nothing else.
  void hold_back(std::span<const TokenId> ends, std::uint32_t answer_tokens);
  // Tokens of the prompt count for the repetition penalty only.
  void add_prompt(std::span<const TokenId> tokens);
  void add_answer(TokenId token);
  std::span<const nacelle_adjustment> entries() const noexcept { return entries_; }

 private:
  struct Past {
    TokenId token;
    bool answer;
  };
  nacelle_adjustment& entry(TokenId token);
  void remember(Past past);
  void renew(TokenId token);
  void drop(TokenId token);
  void let_go();

  float repetition_, frequency_, presence_;
  std::uint32_t window_;
  std::vector<nacelle_adjustment> entries_;
  std::unordered_map<TokenId, std::uint32_t> places_;    // token -> index of entries_
  std::unordered_map<TokenId, std::uint32_t> answered_;  // token -> times in the answer, or in the window's part of it
  std::uint32_t held_for_ = 0;                           // tokens that the answer lacks
  std::vector<std::pair<TokenId, float>> held_;          // with the bias that each has otherwise
  // Of a window alone:
  std::deque<Past> past_;
  std::unordered_map<TokenId, std::uint32_t> seen_;  // token -> times in past_
  std::unordered_map<TokenId, float> bias_;          // of the request
};

// Applies `changes` to a raw row as the device does, and divides by the temperature (0 and 1 leave it).
void apply_adjustments(std::span<float> logits, std::span<const nacelle_adjustment> changes, float temperature);

// -infinity where the mask has no bit, as the device does.
void apply_mask(std::span<float> logits, std::span<const std::uint32_t> mask);

// Throws Error(kInvalidArgument) whose param names the field that is out of range.
void check_sampling(const SamplingParams& params, std::size_t vocabulary);

// For requests that name none.
std::uint64_t random_seed() noexcept;

class Sampler {
 public:
  Sampler(const SamplingParams& params, std::uint64_t seed) : params_(params), seed_(seed) {}

  // `index` numbers the tokens of the answer: the draw depends on seed and index alone, so a request that was preempted
  // and computed again continues as if nothing had happened.
  TokenId choose(LogitsRow& row, std::uint64_t index);
  std::uint64_t seed() const noexcept { return seed_; }

  // The chosen token's logprob in the model's own distribution, and the `alternatives` best tokens of that
  // distribution.
  TokenLogprob logprob(LogitsRow& row, TokenId chosen, std::uint32_t alternatives, bool row_is_adjusted);

 private:
  struct Candidate {
    TokenId id;
    float logit;
  };
  void extend(LogitsRow& row, std::size_t count);
  void drop_impossible();
  void keep_top_k(LogitsRow& row);
  void keep_typical(LogitsRow& row);
  void keep_top_p(LogitsRow& row);
  void keep_min_p(LogitsRow& row);
  double mass() const;
  TokenId draw(LogitsRow& row, double uniform);

  SamplingParams params_;
  std::uint64_t seed_;
  // State of one choice: the surviving candidates, largest first; `complete_` when no other token can be chosen.
  std::vector<Candidate> candidates_;
  bool complete_ = false;
  float logsumexp_ = 0;
};

}  // namespace nacelle
