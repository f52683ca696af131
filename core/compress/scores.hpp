// What a model says of a text, in numbers: perplexity, and beside it how far it is from another model of the same
// tokens. Plain arithmetic on rows of logits; core/compress/eval.hpp brings the rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nacelle {

// A mean over tokens with its standard error (0 for fewer than two).
struct Estimate {
  double value = 0, error = 0;
};

// Sums of one figure.
class Moments {
 public:
  void add(double x) noexcept {
    ++count_;
    sum_ += x;
    squares_ += x * x;
  }
  std::uint64_t count() const noexcept { return count_; }
  Estimate mean() const noexcept;
  // e to the mean; the error is carried through to first order.
  Estimate exp_mean() const noexcept;

 private:
  std::uint64_t count_ = 0;
  double sum_ = 0, squares_ = 0;
};

class Scores {
 public:
  // A row of logits (natural units, before softmax) and the token that the text has next. False, and nothing is
  // counted, where the row has no softmax: a NaN, or nothing finite.
  bool add(std::span<const float> logits, std::uint32_t next);
  // Beside the same row of another model, of equal length.
  bool add(std::span<const float> logits, std::span<const float> base, std::uint32_t next);

  std::uint64_t tokens() const noexcept { return loss_.count(); }
  // e to the mean of -ln p(next).
  Estimate perplexity() const noexcept { return loss_.exp_mean(); }
  Estimate base_perplexity() const noexcept { return base_loss_.exp_mean(); }
  // Of the two, token by token: most of what makes a text hard is the same for both.
  Estimate perplexity_ratio() const noexcept { return difference_.exp_mean(); }
  // Kullback and Leibler's, of the base's distribution from this one's, in nats.
  Estimate divergence() const noexcept { return divergence_.mean(); }
  // The value that `share` (0..1) of the tokens do not exceed, interpolated; 0 of none.
  double divergence_quantile(double share) const;
  // The share of tokens for which both have the same first choice (of equals the lowest id).
  Estimate agreement() const noexcept { return agreement_.mean(); }

 private:
  Moments loss_, base_loss_, difference_, divergence_, agreement_;
  std::vector<float> divergences_;
};

}  // namespace nacelle
