// A sequence's constraint while it runs: its matcher and the mask of its next token.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/constrain/constraint.hpp"

namespace nacelle {

class SequenceConstraint {
 public:
  explicit SequenceConstraint(std::shared_ptr<const constrain::Grammar> grammar)
      : matcher_(grammar), mask_(grammar->vocabulary().words()) {}

  // Brings the mask up to date; once a token, however often a step is written.
  void prepare() {
    if (ready_) return;
    ready_ = true;
    // Where the grammar cannot be followed the mask must not leave the device without a token; error() is set.
    if (!matcher_.mask(mask_)) mask_.assign(mask_.size(), 0xFFFFFFFFu);
  }
  // As prepare() left it.
  std::span<const std::uint32_t> mask() const noexcept { return mask_; }
  // False where the token is not allowed: error() says what to tell the caller.
  bool accept(TokenId token) {
    ready_ = false;
    if (matcher_.error().empty() && matcher_.accept(token)) return true;
    error_ = matcher_.error().empty() ? "the model chose a token that the grammar does not allow" : matcher_.error();
    return false;
  }
  // Only the end can follow.
  bool finished() const noexcept { return matcher_.finished(); }
  // Tokens that come next whatever the model says; they are to be accepted one by one.
  std::vector<TokenId> forced() { return matcher_.forced(); }
  const std::string& error() const noexcept { return error_; }

 private:
  constrain::Matcher matcher_;
  std::vector<std::uint32_t> mask_;
  bool ready_ = false;
  std::string error_;
};

}  // namespace nacelle
