// The scheduler. Decoding sequences go first so that a long prompt delays their next token by one chunk at most.
#include "core/engine/scheduler.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace nacelle {
namespace {

constexpr double kAnswerWeight = 2;  // of a decoded row in a client's service; a prompt's counts 1

// The order in which running sequences may keep their blocks.
bool ranks_before(const Sequence& a, const Sequence& b) {
  return std::tie(a.request.priority, a.id) < std::tie(b.request.priority, b.id);
}

// The order in which prompts are computed: what was begun goes on before what is new, then the client that had least.
bool goes_before(const Sequence& a, const Sequence& b) {
  return std::make_tuple(a.request.priority, !a.answering(), a.account->service, a.id) <
         std::make_tuple(b.request.priority, !b.answering(), b.account->service, b.id);
}

}  // namespace

void Scheduler::add(std::unique_ptr<Sequence>&& sequence) {
  waiting_.push_back(nullptr);
  try {
    sequence->account = &clients_.enter(sequence->request.client);
  } catch (...) {
    waiting_.pop_back();
    throw;
  }
  waiting_.back() = std::move(sequence);
}

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
  if (!sequence) sequence = take(waiting_);
  if (sequence) clients_.leave(sequence->request.client);
  return sequence;
}

std::unique_ptr<Sequence> Scheduler::remove_one() noexcept {
  auto& list = running_.empty() ? waiting_ : running_;
  if (list.empty()) return nullptr;
  auto sequence = std::move(list.back());
  list.pop_back();
  clients_.leave(sequence->request.client);
  return sequence;
}

const std::vector<Chunk>& Scheduler::plan() {
  chunks_.clear();
  budget_ = limits_.max_rows;
  door_closed_ = false;
  slot_wanted_ = false;
  ++round_;
  plan_decodes();
  if (!chunks_.empty() && !limits_.whole_sequences) budget_ = std::min(budget_, prompt_rows_);
  plan_prefills();
  return chunks_;
}

void Scheduler::add_chunk(Sequence& sequence, std::uint32_t count, std::uint32_t guesses) {
  const std::uint32_t scores = sequence.prompt_logprobs.wanted(sequence.computed, count);
  chunks_.push_back({&sequence, sequence.computed, count, guesses, scores});
  budget_ -= count + guesses;
  sequence.account->service += count * (sequence.pending() == 1 ? kAnswerWeight : 1);
}

// The last in rank goes back to the queue; its tokens, those it generated too, are computed again later, but for the
// blocks that are still cached then. Stable numerics and draws that depend on the token's index alone make that
// invisible in its answer.
void Scheduler::preempt_last() {
  waiting_.push_back(std::move(running_.back()));
  running_.pop_back();
  Sequence& sequence = *waiting_.back();
  const auto chunk =
      std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& planned) { return planned.sequence == &sequence; });
  if (chunk != chunks_.end()) {
    budget_ += chunk->rows();
    chunks_.erase(chunk);
  }
  sequence.blocks.clear();
  sequence.computed = 0;
  sequence.adapter = {};
  sequence.running = false;
  sequence.round = round_;  // not again in this step
  ++preemptions_;
}

// Room for `tokens` tokens of running_[index], taking blocks from those behind it where needed. False when the sequence
// itself had to go.
bool Scheduler::reserve(std::size_t index, std::uint32_t tokens) {
  while (!running_[index]->blocks.reserve(tokens)) {
    const bool itself = index + 1 == running_.size();
    preempt_last();
    if (itself) return false;
  }
  return true;
}

std::uint32_t Scheduler::list_decoding(std::vector<Sequence*>& decoding) const {
  decoding.clear();
  std::uint32_t other_rows = 0;
  for (const auto& sequence : running_) {
    if (sequence->held) continue;
    if (sequence->pending() == 1)
      decoding.push_back(sequence.get());
    else
      other_rows += sequence->pending();
  }
  const std::uint32_t budget = limits_.max_rows - std::min<std::uint32_t>(limits_.max_rows, decoding.size());
  return std::min(other_rows, budget);
}

void Scheduler::plan_decodes() {
  const auto decoding = static_cast<std::uint32_t>(
      std::count_if(running_.begin(), running_.end(), [](const auto& sequence) { return sequence->pending() == 1; }));
  // Every sequence has its row first; what is left may be guesses.
  std::uint32_t spare = std::min(limits_.max_guesses, budget_ - std::min(budget_, decoding));
  // A prompt that wants logits of all its rows needs the room more.
  const auto wants_scores = [](const auto& sequence) { return !sequence->prompt_logprobs.done(); };
  if (std::any_of(running_.begin(), running_.end(), wants_scores)) spare = 0;
  // `running_` may shrink from its end while the loop runs; those before `i` are safe.
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.pending() != 1 || sequence.held) continue;
    const std::uint32_t guesses = take_guess(sequence, spare);
    if (!reserve(i, sequence.size())) break;
    add_chunk(sequence, 1, guesses);
    spare -= guesses;
  }
}

// How much of its guess a sequence may try: no more than its answer has left, and nobody gives up a block for it.
std::uint32_t Scheduler::take_guess(Sequence& sequence, std::uint32_t spare) {
  const auto size = static_cast<std::uint32_t>(sequence.guess.size());
  const std::uint32_t guesses = std::min({size, spare, sequence.limit - sequence.size() - 1});
  if (guesses == 0) return 0;
  const std::uint32_t room = sequence.blocks.room();
  if (sequence.size() + guesses > room) {
    const std::uint32_t missing = blocks_->blocks_for(sequence.size() + guesses - room);
    if (blocks_->free() < missing + running_.size()) return 0;
    if (!sequence.blocks.reserve(sequence.size() + guesses)) return 0;
  }
  return sequence.blocks.keep_for_guess() ? guesses : 0;
}

void Scheduler::plan_prefills() {
  while (budget_ > 0) {
    Sequence* sequence = next_prefill();
    if (!sequence) return;
    sequence->round = round_;
    if (sequence->running)
      continue_prefill(*sequence);
    else
      admit(*sequence);
  }
}

// Of the prompts that this step has not looked at yet, the one whose turn it is.
Sequence* Scheduler::next_prefill() const {
  Sequence* next = nullptr;
  const auto consider = [&](Sequence& sequence) {
    if (sequence.round != round_ && !sequence.held && (!next || goes_before(sequence, *next))) next = &sequence;
  };
  for (const auto& sequence : running_)
    if (sequence->pending() > 1) consider(*sequence);
  if (!door_closed_)
    for (const auto& sequence : waiting_) consider(*sequence);
  return next;
}

// Of a prompt: what the budget leaves, but not beyond where its state is to be kept, and of rows whose logits are
// wanted no more than a step has room for. Every other sequence keeps room for its one row.
std::uint32_t Scheduler::rows_that_fit(const Sequence& sequence) const {
  const std::uint32_t cut = sequence.blocks.next_cut(sequence.computed) - sequence.computed;
  const std::uint32_t count = std::min({budget_, sequence.pending(), cut});
  const std::uint32_t scores = sequence.prompt_logprobs.wanted(sequence.computed, count);
  if (scores == 0) return count;
  const std::size_t all = std::min<std::size_t>(limits_.max_sequences, running_.size() + waiting_.size());
  std::size_t taken = all - std::min(all, chunks_.size() + 1);
  for (const Chunk& chunk : chunks_) taken += chunk.output_rows();
  const auto room = static_cast<std::uint32_t>(limits_.max_sequences + limits_.max_guesses - taken);  // 1 at least
  const bool whole = count == sequence.pending();
  if (scores + whole <= room) return count;
  return sequence.prompt_logprobs.next() - sequence.computed + std::min(scores, room);
}

void Scheduler::continue_prefill(Sequence& sequence) {
  const std::uint32_t count = rows_that_fit(sequence);
  // A prefill takes no blocks from others while anything else moves: those that decode will free some.
  if (!sequence.blocks.reserve(sequence.computed + count)) {
    if (!chunks_.empty()) return;
    const auto place =
        std::find_if(running_.begin(), running_.end(), [&](const auto& one) { return one.get() == &sequence; });
    if (!reserve(static_cast<std::size_t>(place - running_.begin()), sequence.computed + count)) return;
  }
  add_chunk(sequence, count);
}

// What is known without looking at the prefix cache.
bool Scheduler::may_enter(const Sequence& sequence) const {
  if (running_.empty() || sequence.request.priority < running_.back()->request.priority) return true;
  if (running_.size() >= limits_.max_sequences) return false;
  return sequence.id != refused_ || blocks_->free() > refused_free_;
}

// Whether it has an adapter for which no slot is free. From then on no adapter is admitted in this step, so that those
// that run leave and one gets free; sequences without one are not held up.
bool Scheduler::waits_for_slot(const Sequence& sequence) {
  if (!sequence.request.adapter) return false;
  slot_wanted_ |= !adapters_.can_take(*sequence.request.adapter);
  return slot_wanted_;
}

// Begins to run a waiting sequence, or closes the door: nobody overtakes one that waits for blocks.
void Scheduler::admit(Sequence& sequence) {
  door_closed_ = !may_enter(sequence) || (limits_.whole_sequences && sequence.pending() > budget_);
  if (door_closed_ || waits_for_slot(sequence)) return;
  const std::uint32_t found = sequence.blocks.adopt(sequence.shareable());
  const bool wait = sequence.prompt_logprobs.done() && is_being_computed(sequence, found);
  sequence.computed = found;
  if (!wait && make_way(sequence)) return start(sequence);
  sequence.blocks.clear();
  sequence.computed = 0;
  if (wait) return;
  door_closed_ = true;
  refused_ = running_.size() < limits_.max_sequences ? sequence.id : 0;
  refused_free_ = blocks_->free();
}

// A slot and blocks for a waiting sequence: all its tokens and one more, so that it is not preempted at once. Those of
// a later priority class make room. False where that does not do.
bool Scheduler::make_way(const Sequence& sequence) {
  const std::uint32_t tokens = std::min(sequence.size() + 1, sequence.limit);
  const auto has_way = [&] {
    return running_.size() < limits_.max_sequences && (running_.empty() || sequence.blocks.can_reserve(tokens));
  };
  while (!has_way()) {
    if (running_.empty() || running_.back()->request.priority <= sequence.request.priority) return false;
    preempt_last();
  }
  return true;
}

// Whether this step works on the prompt that will have the block after the first `found` tokens: better wait for it
// than compute it a second time. Nobody waits for one whose turn it is not.
bool Scheduler::is_being_computed(const Sequence& sequence, std::uint32_t found) const {
  const std::size_t index = found / blocks_->block_tokens;
  const auto key = sequence.blocks.key(index);
  if (!key) return false;
  return std::any_of(chunks_.begin(), chunks_.end(), [&](const Chunk& chunk) {
    if (chunk.sequence->pending() <= 1 || chunk.sequence->blocks.key(index) != key) return false;
    if (blocks_->states) return will_keep_state(chunk, sequence);
    return chunk.begin < (index + 1) * blocks_->block_tokens;
  });
}

// Of a chunk whose sequence begins as `waiting` does: makes it keep its state behind what they have in common. False
// where it is past that already.
bool Scheduler::will_keep_state(const Chunk& chunk, const Sequence& waiting) const {
  const std::size_t most = (waiting.shareable().size() - 1) / blocks_->block_tokens;
  const std::size_t common = std::min(most, waiting.blocks.common_blocks(chunk.sequence->blocks));
  if (chunk.begin + chunk.count > common * blocks_->block_tokens) return false;
  chunk.sequence->blocks.keep_state_at(common);
  return true;
}

void Scheduler::start(Sequence& sequence) {
  const std::uint32_t count = rows_that_fit(sequence);
  // Cannot fail: there is room for all tokens, or nothing runs and a whole context fits.
  sequence.blocks.reserve(sequence.computed + count);
  if (!std::exchange(sequence.counted, true)) {
    sequence.cached = std::min(sequence.computed, sequence.prompt_size());
    prefix_tokens_ += sequence.prompt_size();
    cached_tokens_ += sequence.cached;
  }
  sequence.running = true;
  if (sequence.request.adapter) sequence.adapter = adapters_.take(sequence.request.adapter);
  add_chunk(sequence, count);
  const auto place =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.get() == &sequence; });
  auto owner = std::move(*place);
  waiting_.erase(place);
  const auto rank = std::upper_bound(running_.begin(), running_.end(), owner,
                                     [](const auto& a, const auto& b) { return ranks_before(*a, *b); });
  running_.insert(rank, std::move(owner));
}

}  // namespace nacelle
