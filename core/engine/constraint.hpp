// A sequence's constraint while it runs: its matcher, and where that stands for its next token and those behind a
// guess.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/constrain/constraint.hpp"

namespace nacelle {

// What a grammar may cost an engine's thread, in the steps of a Matcher, 20 ns each. What is left to do
// when a step has used up its share is done in the next one; the sequences that it is for sit that step out, and no
// others do.
struct ConstraintWork {
  static constexpr std::uint64_t kOfStep = 200'000;  // 4 ms for all sequences, every third step: a state's at least
  static constexpr std::uint64_t kAlways = 500;      // for each call, though that is used up: most need no more
  static constexpr std::uint64_t kOfAnswer = 20'000'000, kOfToken = 50'000;  // an answer of n tokens: the sum
};

class SequenceConstraint {
 public:
  explicit SequenceConstraint(const std::shared_ptr<const constrain::Grammar>& grammar)
      : matcher_(grammar), words_(grammar->vocabulary().words()) {}

  using Place = constrain::Matcher::Place;
  enum class Progress {
    kDone,
    kLater,  // the allowance is used up: is_behind(), until catch_up() and forced() are through
    kFailed  // error() says what to tell the caller
  };

  // Of the calls after this.
  void allow(std::uint64_t steps) noexcept { matcher_.allow(steps); }
  std::uint64_t work() const noexcept { return matcher_.work(); }

  // The next token, which was chosen by the mask.
  Progress accept(TokenId token) {
    ready_ = false;
    behind_ = true;
    chosen_.push_back(token);
    return catch_up();
  }
  Progress catch_up() {
    while (!chosen_.empty()) {
      if (!matcher_.accept(chosen_.front())) return matcher_.over() ? check_work() : fail(why_refused());
      chosen_.erase(chosen_.begin());
      ++tokens_;
    }
    behind_ = false;
    return Progress::kDone;
  }
  bool is_behind() const noexcept { return behind_; }
  // Only the end can follow.
  bool finished() const noexcept { return !behind_ && matcher_.finished(); }
  // Tokens that come next whatever the model says; they are to be accepted one by one. None where that is not known
  // yet.
  std::optional<std::vector<TokenId>> forced() {
    std::vector<TokenId> tokens = matcher_.forced();
    behind_ = matcher_.over();
    if (behind_) return std::nullopt;
    return tokens;
  }

  // Brings the place of the next token up to date, with its mask.
  Progress prepare() {
    matcher_.renew();
    matcher_.settle();
    places_.assign(1, matcher_.place());
    ready_ = matcher_.learn(places_[0]);
    if (ready_) return Progress::kDone;
    return matcher_.over() ? check_work() : fail(matcher_.error());
  }
  bool is_ready() const noexcept { return ready_; }
  // Once it is ready: the places behind the tokens of `guess`, as many as the grammar and the allowance permit. Returns
  // how many.
  std::size_t prepare_guess(std::span<const TokenId> guess) {
    places_.resize(1);
    std::size_t allowed = 0;
    for (; allowed < guess.size() && matcher_.accept(guess[allowed]); ++allowed) places_.push_back(matcher_.place());
    if (!matcher_.rollback(allowed)) fail("the grammar's place was lost");  // never: it remembers more than a guess
    for (std::size_t nth = 1; nth <= allowed; ++nth)
      if (!matcher_.learn(places_[nth])) allowed = nth - 1;
    places_.resize(allowed + 1);
    return allowed;
  }
  std::size_t words() const noexcept { return words_; }
  // As prepared: of the next token, or of the one behind the first `nth` tokens of the guess. Equal places have equal
  // masks.
  const Place& place(std::size_t nth) const noexcept { return places_[nth]; }
  // The mask there, [words()]. Where the grammar cannot be followed it must not leave the device without a token:
  // accept() then refuses it.
  void write_mask(std::size_t nth, std::span<std::uint32_t> mask) {
    matcher_.allow(ConstraintWork::kOfStep);  // it is learnt: this is a copy
    if (!matcher_.mask(places_[nth], mask) || !any(mask)) std::fill(mask.begin(), mask.end(), 0xFFFFFFFFu);
  }
  const std::string& error() const noexcept { return error_; }
  // What error() is about: kUnsupported where this grammar, or this model with it, cannot be followed.
  ErrorKind error_kind() const noexcept { return error_kind_; }

 private:
  Progress fail(std::string why) {
    error_ = std::move(why);
    return Progress::kFailed;
  }
  Progress check_work() {
    const std::uint64_t most = ConstraintWork::kOfAnswer + tokens_ * ConstraintWork::kOfToken;
    if (matcher_.work() <= most) return Progress::kLater;
    return fail("the grammar is too costly to follow: an answer of " + std::to_string(tokens_) + " tokens took " +
                std::to_string(matcher_.work()) + " steps, more than " + std::to_string(most) + "; make it simpler");
  }
  std::string why_refused() {
    std::vector<std::uint32_t> mask(words_);
    if (matcher_.error().empty() && matcher_.mask(mask) && !any(mask))
      return "no token of the model can follow what it has written: its vocabulary cannot spell what the grammar asks "
             "for";
    if (!matcher_.error().empty()) return matcher_.error();
    error_kind_ = ErrorKind::kInternal;
    return "the model chose a token that the grammar does not allow";
  }
  static bool any(std::span<const std::uint32_t> mask) noexcept {
    return std::any_of(mask.begin(), mask.end(), [](auto word) { return word != 0; });
  }

  constrain::Matcher matcher_;
  std::size_t words_;
  std::vector<Place> places_;
  std::vector<TokenId> chosen_;  // and not accepted yet
  std::size_t tokens_ = 0;       // accepted
  bool ready_ = false, behind_ = false;
  std::string error_;
  ErrorKind error_kind_ = ErrorKind::kUnsupported;
};

}  // namespace nacelle
