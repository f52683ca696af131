// What a step's logits become: tokens, text, events, and the end of each answer. The engine's thread only.
#include <algorithm>

#include "core/base/log.hpp"
#include "core/base/turn.hpp"
#include "core/engine/engine_loop.hpp"

namespace nacelle {

// The step's tokens, to those who asked for them; it began at `begin`.
void Engine::Loop::hand_out(const std::vector<Chunk>& chunks, Clock::time_point begin) {
  const Turn turn;  // the sinks' readers are told when all events are out
  ended_.clear();
  std::uint32_t row = 0, prompt_tokens = 0, answer_tokens = 0;
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = *chunk.sequence;
    if (sequence.times.scheduled == Clock::time_point{}) {
      sequence.times.scheduled = begin;
      timing_.queue.add(seconds_between(sequence.times.submitted, begin));
    }
    sequence.computed = chunk.begin + chunk.count;
    if (chunk.begin < sequence.prompt_size())
      prompt_tokens += std::min(chunk.count, sequence.prompt_size() - chunk.begin);
    const std::uint32_t output_rows = chunk.output_rows(), scores = chunk.scores;
    read_prompt(chunk, row);
    if (output_rows > scores && (sequence.request.embed || sequence.request.prompt_only))
      end_with_prompt(sequence, row + scores);
    else if (output_rows > scores)
      answer_tokens += advance(chunk, row + scores);
    row += output_rows;
    sequence.blocks.publish(sequence.tokens, sequence.computed);
    sequence.blocks.trim(sequence.computed);
  }
  count_step(prompt_tokens, answer_tokens);
  remove_ended();
}

// Those whose last event is out, and those whose grammar could not be followed.
void Engine::Loop::remove_ended() {
  for (const auto& [id, reason] : ended_) {
    auto sequence = scheduler_.remove(id);
    if (reason == FinishReason::kError) {
      const SequenceConstraint& constraint = *sequence->constraint;
      fail(std::move(sequence), constraint.error_kind(), constraint.error());
    } else {
      finish(std::move(sequence), reason);
    }
  }
}

// What the step tells of the prompt's own tokens, from output row `row` on.
void Engine::Loop::read_prompt(const Chunk& chunk, std::uint32_t row) {
  Sequence& sequence = *chunk.sequence;
  for (std::uint32_t i = 0; i < chunk.scores; ++i) {
    logits_.select(row + i, sequence, false);
    if (sequence.request.embed)
      sequence.prompt_logprobs.add_hidden(logits_.embedding());
    else
      sequence.prompt_logprobs.add(logits_, sequence.tokens);
  }
}

// Chooses the sequence's next token, and as long as its guess was right those after it, from output row `row` on.
// Returns how many were made.
std::uint32_t Engine::Loop::advance(const Chunk& chunk, std::uint32_t row) {
  Sequence& sequence = *chunk.sequence;
  const std::uint32_t before = sequence.size();
  const auto made = [&] { return sequence.size() - before; };
  std::uint32_t right = 0;  // tokens of the guess that came: their rows are in the cache, and the last one's is `row`
  for (bool more = true; more && right == made();) {
    more = choose(sequence, row + right, right);
    while (right < std::min(chunk.guesses, made()) && sequence.tokens[before + right] == sequence.guess[right]) ++right;
  }
  const std::uint32_t taken = std::min(right, made() - 1);
  sequence.computed = sequence.blocks.settle_guess(taken == chunk.guesses) ? chunk.begin : sequence.computed + taken;
  if (chunk.guesses) guesser_.note_verified(sequence, chunk.guesses, right);
  return made();
}

// The next token, from an output row behind `nth` tokens of the guess, and those that the grammar forces behind it,
// which need no row. False where the answer ends.
bool Engine::Loop::choose(Sequence& sequence, std::uint32_t row, std::uint32_t nth) {
  logits_.select(row, sequence, host_adjusted_[row], nth);
  const TokenId token = sequence.sampler.choose(logits_, sequence.answer_size());
  timing_.token(sequence.times, now_);
  GenerationEvent event;
  event.prompt_logprobs = sequence.prompt_logprobs.take();
  if (sequence.request.logprobs)
    event.logprobs.push_back(
        sequence.sampler.logprob(logits_, token, *sequence.request.logprobs, logits_.is_adjusted()));
  return append(sequence, token, std::move(event)) && append_forced(sequence);
}

// False where the answer ends with this token, or its grammar must follow first.
bool Engine::Loop::append(Sequence& sequence, TokenId token, GenerationEvent event) {
  const auto& stop_ids = model_.stop_ids();
  const bool is_stop =
      !sequence.request.ignore_eos && std::find(stop_ids.begin(), stop_ids.end(), token) != stop_ids.end();
  if (is_stop && !sequence.request.stop_logprob) event.logprobs.clear();
  if (sequence.constraint && within_step(sequence, [&](auto& constraint) { return constraint.accept(token); }) ==
                                 SequenceConstraint::Progress::kFailed) {
    ended_.emplace_back(sequence.id, FinishReason::kError);
    return false;
  }
  sequence.tokens.push_back(token);
  sequence.adjustments.add_answer(token);
  const std::size_t ended = ended_.size();
  emit(sequence, token, is_stop, event);
  return ended_.size() == ended && !(sequence.constraint && sequence.constraint->is_behind());
}

// What was read of the prompt is all that was asked for; output row `row` is its last.
void Engine::Loop::end_with_prompt(Sequence& sequence, std::uint32_t row) {
  GenerationEvent event;
  event.finish = sequence.request.embed ? FinishReason::kStop : FinishReason::kLength;
  if (sequence.request.embed) {
    logits_.select(row, sequence, host_adjusted_[row]);
    const std::span<const float> last = logits_.embedding();
    event.embedding =
        sequence.request.mean ? sequence.prompt_logprobs.mean(last) : std::vector<float>(last.begin(), last.end());
  }
  event.prompt_logprobs = sequence.prompt_logprobs.take();
  sequence.times.last_token = now_;
  event.usage = usage(sequence);
  ended_.emplace_back(sequence.id, event.finish);
  tell(sequence, std::move(event));
}

// Text of the token, held back where a stop string may begin; then the event, and the end where this token is the last.
void Engine::Loop::emit(Sequence& sequence, TokenId token, bool is_stop, GenerationEvent& event) {
  FinishReason reason = FinishReason::kNone;
  if (is_stop) {
    reason = FinishReason::kStop;
  } else {
    event.ids.push_back(token);
    if (sequence.decoder) event.text = sequence.stops.push(sequence.decoder->push(token));
    if (sequence.stops.stopped()) {
      reason = FinishReason::kStop;
      event.stop = sequence.stops.match();
    } else if (sequence.constraint && sequence.constraint->finished()) {
      reason = FinishReason::kStop;
    } else if (sequence.size() >= sequence.limit) {
      reason = FinishReason::kLength;
    }
  }
  if (reason != FinishReason::kNone) end_text(sequence, reason, event);
  event.usage = usage(sequence);
  tell(sequence, std::move(event));
}

// Makes the event the answer's last: finish() sends none of its own then.
void Engine::Loop::end_text(Sequence& sequence, FinishReason reason, GenerationEvent& event) {
  ended_.emplace_back(sequence.id, reason);
  event.finish = reason;
  if (!sequence.decoder || sequence.stops.stopped()) return;
  event.text += sequence.stops.push(sequence.decoder->flush());
  event.text += sequence.stops.flush();
}

Usage Engine::Loop::usage(const Sequence& sequence) const {
  return {sequence.prompt_size(), sequence.answer_size(), sequence.cached, 0, sequence.times};
}

// Ends a sequence. Its last event is out already, but for a cancelled one.
void Engine::Loop::finish(std::unique_ptr<Sequence> sequence, FinishReason reason) {
  const bool cancelled = reason == FinishReason::kCancelled;
  if (cancelled) {
    GenerationEvent event;
    event.finish = reason;
    event.usage = usage(*sequence);
    tell_end(*sequence, std::move(event));
  }
  if (!cancelled) timing_.request.add(seconds_between(sequence->times.submitted, sequence->times.last_token));
  leave(std::move(sequence), cancelled ? &EngineStats::cancelled : &EngineStats::finished,
        reason == FinishReason::kLength);
}

// Ends a sequence with an error: one whose last event is not out.
void Engine::Loop::fail(std::unique_ptr<Sequence> sequence, ErrorKind kind, const std::string& error) {
  if (!sequence->told) {
    GenerationEvent event;
    event.finish = FinishReason::kError;
    try {
      event.error = error;
    } catch (const std::bad_alloc&) {
      event.error = "out of memory";
    }
    event.error_kind = kind;
    event.usage = usage(*sequence);
    tell_end(*sequence, std::move(event));
  }
  leave(std::move(sequence), &EngineStats::failed);
}

void Engine::Loop::tell(Sequence& sequence, GenerationEvent&& event) {
  const bool last = event.finish != FinishReason::kNone;
  sequence.sink(std::move(event));
  sequence.told = last;
}

// Outside a step: one that cannot be told leaves all the same.
void Engine::Loop::tell_end(Sequence& sequence, GenerationEvent&& event) noexcept {
  try {
    tell(sequence, std::move(event));
  } catch (const std::exception& error) {
    log::error("engine: request {} was not told its end: {}", sequence.id, error.what());
  }
}

// Its blocks are free again when this returns.
void Engine::Loop::leave(std::unique_ptr<Sequence> sequence, std::uint64_t EngineStats::*counter, bool by_length) {
  const std::string client = std::move(sequence->request.client);
  guesser_.forget(sequence->id);
  sequence.reset();
  std::lock_guard lock(mutex_);
  note_blocks();
  ++(stats_.*counter);
  if (by_length) ++stats_.finished_by_length;
  rate_.note_end(Clock::now());
  give_back(client);
}

}  // namespace nacelle
