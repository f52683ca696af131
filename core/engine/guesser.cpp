#include "core/engine/guesser.hpp"

#include <algorithm>
#include <chrono>

#include "core/base/log.hpp"
#include "core/engine/lookup.hpp"

namespace nacelle {
namespace {

// Penalties depend on the tokens before, guessed ones too, and so does whether the end may come yet: such a row would
// need changes of its own.
bool needs_every_token(const Sequence& sequence) {
  const SamplingParams& sampling = sequence.request.sampling;
  return sampling.repetition_penalty != 1.0f || sampling.frequency_penalty != 0.0f ||
         sampling.presence_penalty != 0.0f || sequence.answer_size() < sequence.request.min_tokens;
}

}  // namespace

Guesser::Guesser(const SpeculationOptions& options, const Model& target) : options_(options) {
  options_.max_guesses = std::min(options_.max_guesses, kMaxGuesses);
  keeps_state_ = target.device().blocks().states.has_value();
  if (options_.draft) draft_ = std::make_unique<DraftModel>(options_.draft, target);
}

void Guesser::propose(const Scheduler& scheduler) {
  guessable_.clear();
  if (!draft_ && !options_.lookup) return;
  const std::uint32_t other_rows = scheduler.list_decoding(decoding_);
  candidates_.clear();
  for (Sequence* sequence : decoding_) {
    sequence->guess.clear();
    if (sequence->size() + 1 < sequence->limit && !needs_every_token(*sequence)) guessable_.push_back(sequence);
  }
  if (guessable_.empty()) return;
  if (draft_)
    propose_by_model(other_rows);
  else
    propose_by_lookup(other_rows);
}

std::uint32_t Guesser::choose_count(std::uint32_t other_rows) const {
  if (!options_.measured) return options_.max_guesses;
  return best_guess_count(candidates_, static_cast<std::uint32_t>(decoding_.size()),
                          {&costs_, draft_ ? guess_seconds_ : 0, other_rows, kMaxGuesses,
                           keeps_state_ ? std::optional(keep_seconds_) : std::nullopt});
}

void Guesser::propose_by_lookup(std::uint32_t other_rows) {
  std::erase_if(guessable_, [&](Sequence* sequence) {
    look_up(sequence->tokens, std::min(options_.max_guesses, sequence->limit - sequence->size() - 1), sequence->guess);
    return sequence->guess.empty();
  });
  for (const Sequence* sequence : guessable_)
    candidates_.push_back({&sequence->acceptance, static_cast<std::uint32_t>(sequence->guess.size())});
  const std::uint32_t count = choose_count(other_rows);
  for (Sequence* sequence : guessable_) {
    if (count == 0) sequence->acceptance.age();
    if (sequence->guess.size() > count) sequence->guess.resize(count);
  }
}

void Guesser::propose_by_model(std::uint32_t other_rows) {
  for (const Sequence* sequence : guessable_)
    candidates_.push_back(
        {&sequence->acceptance, std::min(options_.max_guesses, sequence->limit - sequence->size() - 1)});
  const std::uint32_t count = choose_count(other_rows);
  if (count == 0) {
    for (Sequence* sequence : guessable_) sequence->acceptance.age();
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  try {
    draft_->guess(guessable_, count);
  } catch (const std::exception& error) {
    log::warning("no more guesses by the draft model: {}", error.what());
    draft_.reset();
    return;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  // The first calls read prompts; that is forgotten quickly.
  guess_seconds_ = guess_seconds_ == 0 ? took.count() / count : guess_seconds_ * 0.7 + took.count() / count * 0.3;
}

void Guesser::note_step(std::span<const Chunk> chunks, double seconds, double keep_seconds) {
  std::uint32_t rows = 0, kept = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.count != 1) return;  // a prompt's rows cost less each: such a step says nothing here
    rows += chunk.rows();
    kept += chunk.guesses > 0;
  }
  if (kept) keep_seconds_ = keep_seconds_ == 0 ? keep_seconds / kept : keep_seconds_ * 0.8 + keep_seconds / kept * 0.2;
  costs_.note(rows, seconds);
}

void Guesser::note_verified(Sequence& sequence, std::uint32_t guesses, std::uint32_t accepted) {
  sequence.acceptance.note(guesses, accepted);
  guessed_ += guesses;
  accepted_ += accepted;
}

void Guesser::forget(RequestId id) {
  if (draft_) draft_->forget(id);
}

}  // namespace nacelle
