// A sequence's constraint while it runs: its matcher, and where that stands for its next token and those behind a
// guess.
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
      : matcher_(grammar), words_(grammar->vocabulary().words()) {}

  using Place = constrain::Matcher::Place;

  // Brings the places up to date; once a token, however often a step is written.
  void prepare() {
    if (!ready_) prepare_guess({});
  }
  // The same, with the places behind the tokens of `guess`, as many as the grammar allows: returns how many.
  std::size_t prepare_guess(std::span<const TokenId> guess) {
    ready_ = true;
    matcher_.renew();
    places_.assign(1, matcher_.place());
    std::size_t allowed = 0;
    for (; allowed < guess.size() && matcher_.accept(guess[allowed]); ++allowed) places_.push_back(matcher_.place());
    if (!matcher_.rollback(allowed)) error_ = "the grammar's place was lost";  // never: it remembers more than a guess
    return allowed;
  }
  std::size_t words() const noexcept { return words_; }
  // As prepared: of the next token, or of the one behind the first `nth` tokens of the guess. Equal places have equal
  // masks.
  const Place& place(std::size_t nth) const noexcept { return places_[nth]; }
  // The mask there, [words()]. Where the grammar cannot be followed it must not leave the device without a token:
  // accept() then refuses it.
  void write_mask(std::size_t nth, std::span<std::uint32_t> mask) {
    if (!matcher_.mask(places_[nth], mask) || !any(mask)) std::fill(mask.begin(), mask.end(), 0xFFFFFFFFu);
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
    std::vector<std::uint32_t> mask(words_);
    if (matcher_.error().empty() && matcher_.mask(mask) && !any(mask)) error_kind_ = ErrorKind::kUnsupported;
    if (!matcher_.error().empty()) return matcher_.error();
    return error_kind_ == ErrorKind::kUnsupported ? "no token of the model can follow what it has written: its "
                                                    "vocabulary cannot spell what the grammar asks for"
                                                  : "the model chose a token that the grammar does not allow";
  }
  static bool any(std::span<const std::uint32_t> mask) noexcept {
    return std::any_of(mask.begin(), mask.end(), [](auto word) { return word != 0; });
  }

  constrain::Matcher matcher_;
  std::size_t words_;
  std::vector<Place> places_;
  bool ready_ = false;
  std::string error_;
  ErrorKind error_kind_ = ErrorKind::kInternal;
};

}  // namespace nacelle
