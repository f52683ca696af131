// A sequence's constraint while it runs: its matcher, and the masks of its next token and of those behind a guess.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/constrain/constraint.hpp"

namespace nacelle {

class SequenceConstraint {
 public:
  explicit SequenceConstraint(const std::shared_ptr<const constrain::Grammar>& grammar)
      : matcher_(grammar), words_(grammar->vocabulary().words()), masks_(words_) {}

  // Brings the mask up to date; once a token, however often a step is written.
  void prepare() {
    if (!ready_) prepare_guess({});
  }
  // The same, with the masks behind the tokens of `guess`, as many as the grammar allows: returns how many.
  std::size_t prepare_guess(std::span<const TokenId> guess) {
    ready_ = true;
    write_mask(0);
    if (!matcher_.error().empty()) return 0;
    std::size_t allowed = 0;
    while (allowed < guess.size() && matcher_.accept(guess[allowed])) write_mask(++allowed);
    if (!matcher_.rollback(allowed)) error_ = "the grammar's place was lost";  // never: it remembers more than a guess
    return allowed;
  }
  std::size_t words() const noexcept { return words_; }
  // As prepared: of the next token, or of the one behind the first `nth` tokens of the guess.
  std::span<const std::uint32_t> mask(std::size_t nth = 0) const noexcept {
    return std::span(masks_).subspan(nth * words_, words_);
  }
  // False where the token is not allowed: error() says what to tell the caller.
  bool accept(TokenId token) {
    ready_ = false;
    if (matcher_.error().empty() && matcher_.accept(token)) return true;
    error_ = why_refused();
    return false;
  }
  // Only the end can follow.
  bool finished() const noexcept { return matcher_.finished(); }
  // Tokens that come next whatever the model says; they are to be accepted one by one.
  std::vector<TokenId> forced() { return matcher_.forced(); }
  const std::string& error() const noexcept { return error_; }
  // What error() is about: kUnsupported where this model cannot follow this grammar.
  ErrorKind error_kind() const noexcept { return error_kind_; }

 private:
  std::string why_refused() {
    if (matcher_.error().empty() && matcher_.mask(std::span(masks_).first(words_)) && !any(masks_, words_))
      error_kind_ = ErrorKind::kUnsupported;
    if (!matcher_.error().empty()) return matcher_.error();
    return error_kind_ == ErrorKind::kUnsupported ? "no token of the model can follow what it has written: its "
                                                    "vocabulary cannot spell what the grammar asks for"
                                                  : "the model chose a token that the grammar does not allow";
  }
  static bool any(std::span<const std::uint32_t> mask, std::size_t words) noexcept {
    return std::any_of(mask.begin(), mask.begin() + static_cast<std::ptrdiff_t>(words),
                       [](auto word) { return word != 0; });
  }
  void write_mask(std::size_t nth) {
    masks_.resize(std::max(masks_.size(), (nth + 1) * words_));
    const auto mask = std::span(masks_).subspan(nth * words_, words_);
    // Where the grammar cannot be followed the mask must not leave the device without a token; accept() then refuses
    // it.
    if (!matcher_.mask(mask) || !any(mask, words_)) std::fill(mask.begin(), mask.end(), 0xFFFFFFFFu);
  }

  constrain::Matcher matcher_;
  std::size_t words_;
  std::vector<std::uint32_t> masks_;
  bool ready_ = false;
  std::string error_;
  ErrorKind error_kind_ = ErrorKind::kInternal;
};

}  // namespace nacelle
