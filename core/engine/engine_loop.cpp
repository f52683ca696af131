// The engine's thread: take commands, plan a step, run it.
#include "core/engine/engine_loop.hpp"

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/base/thread_cpu.hpp"

namespace nacelle {
namespace {

constexpr const char* kNoMemory = "out of memory";  // short: a std::string of it allocates nothing

}  // namespace

void Engine::Loop::main() {
  for (bool more = true; more;) {
    try {
      more = take_commands();
      if (more) step();
    } catch (const std::bad_alloc&) {
      log::error("engine: {}", kNoMemory);
      fail_all(kNoMemory);
    } catch (const std::exception& error) {
      log::error("engine: {}", error.what());
      fail_all(error.what());
    }
  }
  cancel_rest();
}

// Waits for work. False when the engine stops. Where it throws, every request is in arrived_ or the scheduler.
bool Engine::Loop::take_commands() {
  std::unordered_set<RequestId> cancelled;
  bool stop, all;
  {
    std::unique_lock lock(mutex_);
    stats_.running = static_cast<std::uint32_t>(scheduler_.running());
    stats_.waiting = static_cast<std::uint32_t>(scheduler_.waiting());
    note_blocks();
    note_adapters();
    if (scheduler_.running() + scheduler_.waiting() == 0)
      wake_.wait(lock, [this] { return stopping_ || cancel_all_ || !inbox_.empty() || !cancels_.empty(); });
    arrived_.swap(inbox_);
    cancelled.swap(cancels_);
    stop = stopping_;
    all = std::exchange(cancel_all_, false);
  }
  for (auto& sequence : arrived_) {
    next_deadline_ = std::min(next_deadline_, sequence->deadline);
    scheduler_.add(std::move(sequence));
  }
  arrived_.clear();
  if (all) cancel_rest();
  fail_late();
  for (const RequestId id : cancelled)
    if (auto sequence = scheduler_.remove(id)) finish(std::move(sequence), FinishReason::kCancelled);
  return !stop;
}

void Engine::Loop::step() {
  const auto begin = Clock::now();
  follow_grammars();
  guesser_.propose(scheduler_);
  trim_guesses();
  const auto guessed = Clock::now();
  scheduler_.limit_prompt_rows(pace_.prompt_rows());
  const std::vector<Chunk>& chunks = scheduler_.plan();
  if (chunks.empty()) return;
  const auto planned = Clock::now();
  device_.copy_blocks();
  const double keep_seconds = seconds_between(planned, Clock::now());
  write_adapters();
  const StepCounts counts = nacelle::count_step(chunks);
  const std::size_t plan = device_.plan_for(counts);
  write_step(chunks, device_, plan, host_adjusted_);
  const auto ready = Clock::now();
  host_cpu_ += thread_cpu() - run_end_cpu_;
  device_.run(plan, counts);
  run_end_cpu_ = thread_cpu();
  now_ = Clock::now();
  timing_.step_rows.add(counts.rows);
  guesser_.note_step(chunks, seconds_between(ready, now_), keep_seconds);
  pace_.note(counts.prompt_rows, counts.rows > counts.prompt_rows, seconds_between(ready, now_));

  logits_.read(device_.plan(device_.size() - 1, plan));
  hand_out(chunks, begin);
  device_.advance(plan);
  count_time(begin, guessed, ready);
}

void Engine::Loop::count_step(std::uint32_t prompt_tokens, std::uint32_t answer_tokens) {
  std::lock_guard lock(mutex_);
  stats_.steps += 1;
  stats_.prompt_tokens += prompt_tokens;
  stats_.generated_tokens += answer_tokens;
  stats_.preemptions = scheduler_.preemptions();
  stats_.prefix_tokens = scheduler_.prefix_tokens();
  stats_.cached_tokens = scheduler_.cached_tokens();
  stats_.guessed_tokens = guesser_.guessed();
  stats_.accepted_tokens = guesser_.accepted();
  note_blocks();
}

// Of the step that began at `begin`, had its guesses at `guessed` and went to the device at `ready`.
void Engine::Loop::count_time(Clock::time_point begin, Clock::time_point guessed, Clock::time_point ready) {
  std::lock_guard lock(mutex_);
  (guesser_.has_draft() ? stats_.draft_seconds : stats_.plan_seconds) += seconds_between(begin, guessed);
  stats_.plan_seconds += seconds_between(guessed, ready);
  stats_.device_seconds += seconds_between(ready, now_);
  stats_.sample_seconds += seconds_between(now_, Clock::now());
  stats_.host_cpu_seconds = std::chrono::duration<double>(host_cpu_).count();
}

// Under mutex_.
void Engine::Loop::note_blocks() {
  const KvBlocks& blocks = device_.blocks();
  if (blocks.states) {
    stats_.states_total = blocks.states->total();
    stats_.states_free = blocks.states->free();
  }
  if (blocks.pools.empty()) return;
  const BlockPool& pool = blocks.pools[0];
  stats_.blocks_total = pool.total();
  stats_.blocks_free = pool.free();
  stats_.blocks_cached = pool.cached();
}

// Under mutex_.
void Engine::Loop::note_adapters() {
  if (model_.options().max_adapters == 0) return;
  stats_.running_adapters.clear();
  stats_.waiting_adapters.clear();
  scheduler_.each([&](const Sequence& sequence) {
    if (sequence.request.adapter)
      (sequence.running ? stats_.running_adapters : stats_.waiting_adapters).insert(sequence.request.adapter->name);
  });
}

// Before the planned step, whose sequences want them.
void Engine::Loop::write_adapters() {
  for (const AdapterTable::Write& write : scheduler_.adapters().writes())
    device_.write_adapter(write.slot, *write.adapter);
  scheduler_.adapters().writes().clear();
}

// Ends what has run out of time, waiting or running.
void Engine::Loop::fail_late() {
  if (next_deadline_ == Clock::time_point::max()) return;
  const auto now = Clock::now();
  if (now < next_deadline_) return;
  std::vector<const Sequence*> late;
  next_deadline_ = Clock::time_point::max();
  scheduler_.each([&](const Sequence& sequence) {
    if (sequence.deadline <= now)
      late.push_back(&sequence);
    else
      next_deadline_ = std::min(next_deadline_, sequence.deadline);
  });
  for (const Sequence* sequence : late) {
    const std::string where = sequence->answering()
                                  ? std::to_string(sequence->answer_size()) + " tokens of the answer were made"
                              : sequence->counted ? "its prompt was being read"
                                                  : "it still waited for its turn";
    const std::string limit = std::to_string(sequence->request.timeout.count());
    {
      std::lock_guard lock(mutex_);
      ++stats_.timed_out;
    }
    const std::string why = "the request's timeout of " + limit + " ms has passed: " + where;
    fail(scheduler_.remove(sequence->id), ErrorKind::kTimeout, why);
  }
}

void Engine::Loop::cancel_rest() {
  while (auto sequence = scheduler_.remove_one()) finish(std::move(sequence), FinishReason::kCancelled);
}

// A failed step cannot be repeated: its cache rows are unknown. All in flight ends; on a lost device later work too.
void Engine::Loop::fail_all(const char* why) noexcept {
  const bool lost = device_.lost();
  std::string error = kNoMemory;
  try {
    error = why;
    if (lost) {
      error += ": this request can be retried elsewhere, or here once the device is back";
      std::lock_guard lock(mutex_);
      lost_ = error;
    }
  } catch (const std::bad_alloc&) {  // it says what it can
  }
  const ErrorKind kind = lost ? ErrorKind::kUnavailable : ErrorKind::kInternal;
  device_.blocks().forget_copies();
  while (auto sequence = scheduler_.remove_one()) fail(std::move(sequence), kind, error);
  for (auto& sequence : arrived_)
    if (sequence) fail(std::move(sequence), kind, error);
  arrived_.clear();
  scheduler_.adapters().forget();
}

}  // namespace nacelle
