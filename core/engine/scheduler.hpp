// Decides what the next step computes: continuous batching with a token budget, chunked prefill, priorities, fairness
// among clients, and preemption by recompute when KV blocks run out (docs/engine.md). The engine's thread only.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/engine/fairness.hpp"
#include "core/engine/sequence.hpp"

namespace nacelle {

struct SchedulerLimits {
  std::uint32_t max_sequences = 0;  // in one step
  std::uint32_t max_rows = 0;       // token budget of a step
  std::uint32_t max_guesses = 0;    // guessed tokens of a step
  std::uint32_t max_adapters = 0;   // whose sequences run at once
  bool whole_sequences = false;     // a sequence is never cut: it waits for a step with room for all of it
};

// Rows [begin, begin + count) of a sequence's tokens; where these reach its end, `guesses` rows of its guess follow.
// The logits of `scores` rows tell of the prompt's own tokens (PromptLogprobs).
struct Chunk {
  Sequence* sequence;
  std::uint32_t begin;
  std::uint32_t count;
  std::uint32_t guesses = 0;
  std::uint32_t scores = 0;
  bool wants_logits() const noexcept { return begin + count == sequence->size(); }
  std::uint32_t rows() const noexcept { return count + guesses; }
  // Those with scores; then the last token's, and each guess's: what comes after it if it was right.
  std::uint32_t output_rows() const noexcept { return scores + (wants_logits() ? 1 + guesses : 0); }
  // The row behind the `output`th of them. Only until the step's scores are read.
  std::uint32_t output_row(std::uint32_t output) const noexcept {
    return output < scores ? sequence->prompt_logprobs.next() - begin + output : rows() - (output_rows() - output);
  }
  TokenId token(std::uint32_t row) const {
    return row < count ? sequence->tokens[begin + row] : sequence->guess[row - count];
  }
};

class Scheduler {
 public:
  Scheduler(SchedulerLimits limits, KvBlocks& blocks)
      : limits_(limits), blocks_(&blocks), adapters_(limits.max_adapters) {
    running_.reserve(limits.max_sequences);  // it never grows: who goes from one list to the other is not lost
  }

  // Takes it, but where it throws.
  void add(std::unique_ptr<Sequence>&& sequence);
  // Takes the sequence with this id out, wherever it is; nullptr when there is none. Not between plan() and the step's
  // end.
  std::unique_ptr<Sequence> remove(RequestId id);
  // The same for any one, until nullptr: for shutdown, device loss and the end of memory, so it allocates nothing.
  std::unique_ptr<Sequence> remove_one() noexcept;
  // Calls body(Sequence&) for each.
  template <class Body>
  void each(Body&& body) const {
    for (const auto& sequence : running_) body(*sequence);
    for (const auto& sequence : waiting_) body(*sequence);
  }
  // Of the next plan: at most so many rows of prompts beside those that decode. Whole sequences are not held to it.
  void limit_prompt_rows(std::uint32_t rows) noexcept { prompt_rows_ = rows; }
  // Those that the next plan will decode, but for what it preempts. Returns the rows that it may compute beside them.
  std::uint32_t list_decoding(std::vector<Sequence*>& decoding) const;

  // The chunks of the next step: first a row, and those of its guess, for every decoding sequence, then prefill as the
  // budget allows. Valid until the next call. Empty only when nothing waits or runs but what is held.
  const std::vector<Chunk>& plan();

  // The adapters of those that run; what it wants written must be before the planned step.
  AdapterTable& adapters() noexcept { return adapters_; }

  std::size_t running() const noexcept { return running_.size(); }
  std::size_t waiting() const noexcept { return waiting_.size(); }
  std::uint64_t preemptions() const noexcept { return preemptions_; }
  // Of the prompts that began to run: all tokens, and those found in the prefix cache.
  std::uint64_t prefix_tokens() const noexcept { return prefix_tokens_; }
  std::uint64_t cached_tokens() const noexcept { return cached_tokens_; }

 private:
  void plan_decodes();
  void plan_prefills();
  Sequence* next_prefill() const;
  void continue_prefill(Sequence& sequence);
  void admit(Sequence& sequence);
  bool may_enter(const Sequence& sequence) const;
  bool waits_for_slot(const Sequence& sequence);
  bool make_way(const Sequence& sequence);
  bool is_being_computed(const Sequence& sequence, std::uint32_t found) const;
  bool will_keep_state(const Chunk& chunk, const Sequence& waiting) const;
  bool reserve(std::size_t index, std::uint32_t tokens);
  void preempt_last();
  void add_chunk(Sequence& sequence, std::uint32_t count, std::uint32_t guesses = 0);
  std::uint32_t take_guess(Sequence& sequence, std::uint32_t spare);
  std::uint32_t rows_that_fit(const Sequence& sequence) const;
  void start(Sequence& sequence);

  SchedulerLimits limits_;
  KvBlocks* blocks_;
  AdapterTable adapters_;  // outlives the sequences, which hold slots of it
  FairShare clients_;
  // By priority, then arrival: each may take the blocks of those behind it, so that the first always goes on.
  std::vector<std::unique_ptr<Sequence>> running_;
  std::vector<std::unique_ptr<Sequence>> waiting_;  // in no order
  std::vector<Chunk> chunks_;
  std::uint32_t budget_ = 0, prompt_rows_ = std::numeric_limits<std::uint32_t>::max();
  std::uint64_t round_ = 0, preemptions_ = 0, prefix_tokens_ = 0, cached_tokens_ = 0;
  bool door_closed_ = false;  // nobody is admitted any more in this step
  bool slot_wanted_ = false;  // nobody with an adapter is
  // The sequence that found too few blocks at the door, and how many were free then: tried again once there are more.
  RequestId refused_ = 0;
  std::uint32_t refused_free_ = 0;
};

}  // namespace nacelle
