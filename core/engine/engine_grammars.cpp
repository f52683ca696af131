// Constrained sequences: what their grammars have to do before a step, within the step's share of work. The engine's
// thread only.
#include <algorithm>
#include <utility>

#include "core/base/turn.hpp"
#include "core/engine/engine_loop.hpp"

namespace nacelle {

// Before a step is planned. Who has cost least goes first: a grammar that wants all there is waits behind the others.
void Engine::Loop::follow_grammars() {
  note_grammar_work();
  unready_.clear();
  scheduler_.each([&](Sequence& sequence) {
    if (sequence.constraint && !sequence.constraint->is_ready()) unready_.push_back(&sequence);
  });
  if (unready_.empty()) return;
  const Turn turn;
  ended_.clear();
  std::uint32_t tokens = 0;
  std::stable_sort(unready_.begin(), unready_.end(),
                   [](const Sequence* a, const Sequence* b) { return a->constraint->work() < b->constraint->work(); });
  for (Sequence* sequence : unready_) {
    const std::uint32_t before = sequence->size();
    sequence->held = !get_ready(*sequence);
    tokens += sequence->size() - before;
  }
  if (tokens > 0) {
    const std::lock_guard lock(mutex_);
    stats_.generated_tokens += tokens;
  }
  remove_ended();
}

// Of the step that is over; the next one's share begins. There is none where the last two took more than half of one: a
// character of three tokens is told after three steps, and those who wait for it notice all of their shares, which are
// one and a half at most.
void Engine::Loop::note_grammar_work() {
  const std::uint64_t used = std::exchange(grammar_used_, 0);
  const std::uint64_t recent = used + std::exchange(grammar_before_, used);
  grammar_left_ = recent > ConstraintWork::kOfStep / 2 ? 0 : ConstraintWork::kOfStep;
  if (used == 0) return;
  const std::lock_guard lock(mutex_);
  stats_.grammar_work += used;
  stats_.most_grammar_work = std::max(stats_.most_grammar_work, used);
}

// False where its grammar needs more than this step's share, or its answer ends.
bool Engine::Loop::get_ready(Sequence& sequence) {
  using Progress = SequenceConstraint::Progress;
  SequenceConstraint& constraint = *sequence.constraint;
  const auto ask = [&](Progress (SequenceConstraint::*what)()) {
    const Progress progress = within_step(sequence, [&](auto&) { return (constraint.*what)(); });
    if (progress == Progress::kFailed) ended_.emplace_back(sequence.id, FinishReason::kError);
    return progress == Progress::kDone;
  };
  if (constraint.is_behind()) {
    if (!ask(&SequenceConstraint::catch_up)) return false;
    if (constraint.finished()) {
      GenerationEvent event;
      end_text(sequence, FinishReason::kStop, event);
      event.usage = usage(sequence);
      tell(sequence, std::move(event));
      return false;
    }
    if (!append_forced(sequence)) return false;
  }
  return ask(&SequenceConstraint::prepare);
}

// Tokens that the grammar leaves no choice about need no row. False where the answer ends, or the grammar must follow
// first.
bool Engine::Loop::append_forced(Sequence& sequence) {
  if (!sequence.constraint || sequence.request.logprobs) return true;  // forced tokens have no logprobs
  const auto forced = within_step(sequence, [](auto& constraint) { return constraint.forced(); });
  return forced &&
         std::all_of(forced->begin(), forced->end(), [&](TokenId token) { return append(sequence, token, {}); });
}

// A grammar knows which guesses cannot come true.
void Engine::Loop::trim_guesses() {
  for (Sequence* sequence : guesser_.guessing()) {
    auto& guess = sequence->guess;
    if (sequence->constraint && !guess.empty())
      guess.resize(within_step(*sequence, [&](auto& constraint) { return constraint.prepare_guess(guess); }));
  }
}

}  // namespace nacelle
