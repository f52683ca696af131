// Log-probabilities of a prompt's own tokens, each behind those before it, or the mean of its hidden rows: which rows
// of a step are needed for that, and what is read of them. A sequence keeps what it has when it is preempted. The
// engine's thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/engine/sampler.hpp"

namespace nacelle {

class PromptLogprobs {
 public:
  // Wants nothing where the request does not ask.
  explicit PromptLogprobs(const GenerationRequest& request);

  // The first row that is still wanted, of those of all tokens but the last: the row of token i tells of token i + 1.
  std::uint32_t next() const noexcept { return next_; }
  bool done() const noexcept { return next_ == end_; }
  // Of a sequence's rows [begin, begin + count), begin <= next(): how many are wanted. They are those from next() on.
  std::uint32_t wanted(std::uint32_t begin, std::uint32_t count) const noexcept {
    return std::max(std::min(begin + count, end_), next_) - next_;
  }
  // The row next() of `tokens`, as the model gave it: without mask, penalties and temperature.
  void add(LogitsRow& row, std::span<const TokenId> tokens);
  // Of a request for the mean: the hidden row next().
  void add_hidden(std::span<const float> hidden);
  // The mean of those and `last`, the last token's. Sums go row by row, so that no chunk's border shows.
  std::vector<float> mean(std::span<const float> last);
  // Once done(): all of them, the first token's without a number. Empty where none were asked for or they were taken.
  std::vector<TokenLogprob> take() noexcept { return std::exchange(entries_, {}); }

 private:
  std::uint32_t alternatives_ = 0, next_ = 0, end_ = 0;
  std::vector<TokenLogprob> entries_;
  std::vector<double> sums_;  // of the hidden rows
};

}  // namespace nacelle
