// Decides what the next step computes: continuous batching with a token budget, chunked prefill, and preemption by
// recompute when KV blocks run out. The engine's thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/engine/sequence.hpp"

namespace nacelle {

struct SchedulerLimits {
  std::uint32_t max_sequences = 0;  // in one step
  std::uint32_t max_rows = 0;       // token budget of a step
};

// Rows [begin, begin + count) of a sequence's tokens.
struct Chunk {
  Sequence* sequence;
  std::uint32_t begin;
  std::uint32_t count;
  bool wants_logits() const noexcept { return begin + count == sequence->size(); }
};

class Scheduler {
 public:
  Scheduler(SchedulerLimits limits, KvBlocks& blocks) : limits_(limits), blocks_(&blocks) {}

  void add(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }
  // Takes the sequence with this id out, wherever it is; nullptr when there is none. Not between plan() and the step's
  // end.
  std::unique_ptr<Sequence> remove(RequestId id);
  // All sequences, for shutdown and device loss.
  std::vector<std::unique_ptr<Sequence>> remove_all();

  // The chunks of the next step, in order of arrival within each kind: first one row for every decoding sequence, then
  // prefill as the budget allows. Valid until the next call. Empty only when nothing waits or runs.
  const std::vector<Chunk>& plan();

  std::size_t running() const noexcept { return running_.size(); }
  std::size_t waiting() const noexcept { return waiting_.size(); }
  std::uint64_t preemptions() const noexcept { return preemptions_; }

 private:
  void plan_decodes();
  void plan_prefills();
  void admit();
  bool reserve(std::size_t index, std::uint32_t tokens);
  void preempt_last();

  SchedulerLimits limits_;
  KvBlocks* blocks_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of arrival
  std::deque<std::unique_ptr<Sequence>> waiting_;   // preempted ones first
  std::vector<Chunk> chunks_;
  std::uint32_t budget_ = 0;
  std::uint64_t preemptions_ = 0;
};

}  // namespace nacelle
