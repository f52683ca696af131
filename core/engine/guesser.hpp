// Speculative decoding: guesses the next tokens of sequences that decode, where verifying them in one step measures as
// faster than a step each. A guess is right only if it is the token that the sampler itself chooses in its place (its
// draws depend on seed and index alone), so answers are the same with and without, greedy or sampled, to the bit. The
// engine's thread only.
#pragma once

#include <memory>
#include <vector>

#include "core/engine/draft_model.hpp"
#include "core/engine/scheduler.hpp"
#include "core/engine/speculation.hpp"

namespace nacelle {

class Guesser {
 public:
  // Throws as DraftModel does.
  Guesser(const SpeculationOptions& options, const Model& target);

  // Sets the guesses of the sequences that the next plan will decode. What a grammar says of them is the caller's to
  // ask.
  void propose(const Scheduler& scheduler);
  // Those that the latest call has given some.
  const std::vector<Sequence*>& guessing() const noexcept { return guessable_; }
  // A step took that long, and keeping the states of those with guesses that long before it.
  void note_step(std::span<const Chunk> chunks, double seconds, double keep_seconds);
  // Of a sequence's guess, `guesses` tokens were tried and the first `accepted` were right.
  void note_verified(Sequence& sequence, std::uint32_t guesses, std::uint32_t accepted);
  void forget(RequestId id);

  bool has_draft() const noexcept { return draft_ != nullptr; }
  std::uint64_t guessed() const noexcept { return guessed_; }
  std::uint64_t accepted() const noexcept { return accepted_; }

 private:
  void propose_by_lookup(std::uint32_t other_rows);
  void propose_by_model(std::uint32_t other_rows);
  std::uint32_t choose_count(std::uint32_t other_rows) const;

  SpeculationOptions options_;
  std::unique_ptr<DraftModel> draft_;
  StepCosts costs_;
  bool keeps_state_ = false;
  double guess_seconds_ = 0;  // of the draft model, a token
  double keep_seconds_ = 0;   // of a state, before a step with guesses
  std::uint64_t guessed_ = 0, accepted_ = 0;
  std::vector<Sequence*> decoding_;
  std::vector<Sequence*> guessable_;
  std::vector<Guessable> candidates_;  // of guessable_
};

}  // namespace nacelle
