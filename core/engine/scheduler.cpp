// The scheduler. Decoding sequences go first so that a long prompt delays their next token by one chunk at most.
#include "core/engine/scheduler.hpp"

#include <algorithm>

namespace nacelle {

std::unique_ptr<Sequence> Scheduler::remove(RequestId id) {
  const auto take = [id](auto& list) -> std::unique_ptr<Sequence> {
    const auto found =
        std::find_if(list.begin(), list.end(), [id](const auto& sequence) { return sequence->id == id; });
    if (found == list.end()) return nullptr;
    auto sequence = std::move(*found);
    list.erase(found);
    return sequence;
  };
  auto sequence = take(running_);
  return sequence ? std::move(sequence) : take(waiting_);
}

std::vector<std::unique_ptr<Sequence>> Scheduler::remove_all() {
  auto all = std::move(running_);
  running_.clear();
  std::move(waiting_.begin(), waiting_.end(), std::back_inserter(all));
  waiting_.clear();
  return all;
}

const std::vector<Chunk>& Scheduler::plan() {
  chunks_.clear();
  budget_ = limits_.max_rows;
  plan_decodes();
  plan_prefills();
  admit();
  return chunks_;
}

// The youngest sequence goes back to the head of the queue; its tokens, those it generated too, are computed again
// later. Stable numerics and draws that depend on the token's index alone make that invisible in its answer.
void Scheduler::preempt_last() {
  auto sequence = std::move(running_.back());
  running_.pop_back();
  sequence->blocks.clear();
  sequence->computed = 0;
  waiting_.push_front(std::move(sequence));
  ++preemptions_;
}

// Room for `tokens` tokens of running_[index], taking blocks from younger sequences where needed. False when the
// sequence itself had to go.
bool Scheduler::reserve(std::size_t index, std::uint32_t tokens) {
  while (!running_[index]->blocks.reserve(tokens)) {
    const bool itself = index + 1 == running_.size();
    preempt_last();
    if (itself) return false;
  }
  return true;
}

void Scheduler::plan_decodes() {
  // `running_` may shrink from its end while the loop runs; those before `i` are safe.
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.pending() != 1) continue;
    if (!reserve(i, sequence.size())) break;
    chunks_.push_back({&sequence, sequence.computed, 1});
    --budget_;
  }
}

void Scheduler::plan_prefills() {
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.pending() <= 1) continue;
    const std::uint32_t count = std::min(budget_, sequence.pending());
    // A prefill takes no blocks from others while anything else moves: those that decode will free some.
    if (!sequence.blocks.reserve(sequence.computed + count)) {
      if (!chunks_.empty()) continue;
      if (!reserve(i, sequence.computed + count)) break;
    }
    chunks_.push_back({&sequence, sequence.computed, count});
    budget_ -= count;
  }
}

void Scheduler::admit() {
  while (!waiting_.empty() && budget_ > 0 && running_.size() < limits_.max_sequences) {
    Sequence& sequence = *waiting_.front();
    // Room for all its tokens and one more, so that it is not preempted at once.
    if (!blocks_->fits(std::min(sequence.size() + 1, sequence.limit)) && !running_.empty()) return;
    const std::uint32_t count = std::min(budget_, sequence.pending());
    if (!sequence.blocks.reserve(count)) return;
    chunks_.push_back({&sequence, sequence.computed, count});
    budget_ -= count;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

}  // namespace nacelle
