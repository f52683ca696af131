// The engine's loop: take commands, plan a step, run it, hand out tokens. Requests live on the loop's thread; other
// threads only reach the inbox, under its lock.
#include "core/engine/engine.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/base/thread_cpu.hpp"
#include "core/base/turn.hpp"
#include "core/engine/guesser.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/request_check.hpp"
#include "core/engine/scheduler.hpp"
#include "core/engine/service_rate.hpp"
#include "core/engine/step.hpp"
#include "core/engine/step_pace.hpp"
#include "core/engine/timing.hpp"

namespace nacelle {

using Clock = std::chrono::steady_clock;

class Engine::Loop {
 public:
  Loop(Model& model, const EngineOptions& options);
  ~Loop();
  RequestId submit(GenerationRequest request, EventSink sink);
  void cancel(RequestId id);
  void cancel_all();
  bool drain(std::chrono::milliseconds deadline);
  EngineStats stats() const;
  Load load() const;

 private:
  void main();
  bool take_commands();
  void step();
  void hand_out(const std::vector<Chunk>& chunks, Clock::time_point begin);
  void read_prompt(const Chunk& chunk, std::uint32_t row);
  std::uint32_t advance(const Chunk& chunk, std::uint32_t row);
  bool choose(Sequence& sequence, std::uint32_t row, std::uint32_t nth);
  bool append(Sequence& sequence, TokenId token, GenerationEvent event);
  void end_with_prompt(Sequence& sequence, std::uint32_t row);
  void emit(Sequence& sequence, TokenId token, bool is_stop, GenerationEvent& event);
  void finish(std::unique_ptr<Sequence> sequence, FinishReason reason);
  void fail(std::unique_ptr<Sequence> sequence, ErrorKind kind, const std::string& error);
  void fail_all(std::string error);
  void leave(std::unique_ptr<Sequence> sequence, std::uint64_t EngineStats::*counter, bool by_length = false);
  void remove_ended();
  void count_time(Clock::time_point begin, Clock::time_point guessed, Clock::time_point ready);
  void fail_late();
  void check_room(const std::string& client);
  std::unique_ptr<Sequence> make_sequence(RequestId id, GenerationRequest request, EventSink sink);
  void count_step(std::uint32_t prompt_tokens, std::uint32_t answer_tokens);
  void note_blocks();
  void note_adapters();
  void write_adapters();
  Usage usage(const Sequence& sequence) const;

  Model& model_;
  PlacedModel& device_;
  EngineOptions options_;
  Scheduler scheduler_;
  Guesser guesser_;
  StepPace pace_;
  DeviceRow logits_;  // of the step that ran last
  std::vector<bool> host_adjusted_;
  std::vector<std::pair<RequestId, FinishReason>> ended_;  // in this step
  Clock::time_point next_deadline_ = Clock::time_point::max();
  EngineTiming timing_;
  Clock::time_point now_;                                // when the device finished this step
  std::chrono::nanoseconds host_cpu_{}, run_end_cpu_{};  // see EngineStats; this thread's when that was

  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  // Under mutex_.
  std::vector<std::unique_ptr<Sequence>> inbox_;
  std::unordered_set<RequestId> cancels_;
  std::size_t alive_ = 0;                                  // submitted and not finished
  std::unordered_map<std::string, std::size_t> alive_of_;  // by client
  ServiceRate rate_;
  RequestId next_id_ = 1;
  bool draining_ = false, stopping_ = false, cancel_all_ = false;
  std::string lost_;  // why the device cannot be used any more
  EngineStats stats_;
  std::thread thread_;
};

Engine::Loop::Loop(Model& model, const EngineOptions& options)
    : model_(model),
      device_(model.device()),
      options_(options),
      scheduler_({.max_sequences = model.options().max_sequences,
                  .max_rows = model.options().max_batch_tokens,
                  .max_guesses = kMaxGuesses,
                  .max_adapters = model.options().max_adapters,
                  .whole_sequences = model.is_encoder()},
                 device_.blocks()),
      guesser_(options.speculation, model),
      logits_(device_) {
  device_.blocks().sharing = options.prefix_cache && device_.blocks().can_share;
  stats_.max_adapters = model.options().max_adapters;
  thread_ = std::thread([this] { main(); });
}

Engine::Loop::~Loop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

// ---- Called from any thread ----------------------------------------

std::unique_ptr<Sequence> Engine::Loop::make_sequence(RequestId id, GenerationRequest request, EventSink sink) {
  const std::uint32_t room = model_.context() - static_cast<std::uint32_t>(request.prompt.size());
  const std::uint32_t answer = request.prompt_only       ? 0
                               : request.max_tokens == 0 ? room
                                                         : std::min(room, request.max_tokens);
  const auto limit = static_cast<std::uint32_t>(request.prompt.size()) + answer;
  const std::uint64_t seed = request.sampling.seed.value_or(random_seed());
  return std::make_unique<Sequence>(id, std::move(request), std::move(sink), device_.blocks(),
                                    model_.has_tokenizer() ? &model_.tokenizer() : nullptr, seed, limit);
}

// Throws where no more may come; under mutex_.
void Engine::Loop::check_room(const std::string& client) {
  if (!lost_.empty()) throw Error(ErrorKind::kUnavailable, lost_);
  if (draining_ || stopping_) throw Error(ErrorKind::kUnavailable, "the server is shutting down");
  const std::size_t slots = model_.options().max_sequences;
  const auto own = alive_of_.find(client);
  const bool too_many =
      options_.max_queue_per_client != 0 && own != alive_of_.end() && own->second >= options_.max_queue_per_client;
  if (!too_many && alive_ < options_.max_queue + slots) return;
  ++stats_.refused;
  const auto wait =
      rate_.wait(too_many ? own->second : alive_ - std::min(alive_, slots), std::min(alive_, slots), Clock::now());
  const std::string advice = "; try again in about " + std::to_string(wait.count()) + " s";
  if (too_many)
    throw BusyError("this client has " + std::to_string(own->second) + " requests under way, its limit" + advice, wait);
  throw BusyError("the queue is full (" + std::to_string(options_.max_queue) + " requests wait)" + advice, wait);
}

RequestId Engine::Loop::submit(GenerationRequest request, EventSink sink) {
  check_request(request, model_);
  RequestId id;
  {
    std::lock_guard lock(mutex_);
    check_room(request.client);
    if (alive_++ == 0) rate_.begin(Clock::now());
    ++alive_of_[request.client];
    ++stats_.requests;
    id = next_id_++;
  }
  // Outside the lock: it takes time with a long prompt. The place is taken, so drain() waits for it.
  auto sequence = make_sequence(id, std::move(request), std::move(sink));
  std::lock_guard lock(mutex_);
  inbox_.push_back(std::move(sequence));
  wake_.notify_one();
  return id;
}

void Engine::Loop::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  cancels_.insert(id);
  wake_.notify_one();
}

void Engine::Loop::cancel_all() {
  std::lock_guard lock(mutex_);
  cancel_all_ = true;
  wake_.notify_one();
}

bool Engine::Loop::drain(std::chrono::milliseconds deadline) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  return idle_.wait_for(lock, deadline, [this] { return alive_ == 0; });
}

EngineStats Engine::Loop::stats() const {
  EngineStats stats;
  {
    std::lock_guard lock(mutex_);
    stats = stats_;
    stats.waiting += static_cast<std::uint32_t>(inbox_.size());
  }
  stats.first_token = timing_.first_token.snapshot();
  stats.inter_token = timing_.inter_token.snapshot();
  stats.queue_time = timing_.queue.snapshot();
  stats.request_time = timing_.request.snapshot();
  stats.step_rows = timing_.step_rows.snapshot();
  return stats;
}

Engine::Load Engine::Loop::load() const {
  std::lock_guard lock(mutex_);
  return {alive_, rate_.pace(alive_ == 0, Clock::now())};
}

// ---- The loop's thread ----------------------------------------

void Engine::Loop::main() {
  while (take_commands()) {
    try {
      step();
    } catch (const std::exception& error) {
      log::error("engine: {}", error.what());
      fail_all(error.what());
    }
  }
  for (auto& sequence : scheduler_.remove_all()) finish(std::move(sequence), FinishReason::kCancelled);
}

// Waits for work. False when the engine stops.
bool Engine::Loop::take_commands() {
  std::vector<std::unique_ptr<Sequence>> arrived;
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
    arrived.swap(inbox_);
    cancelled.swap(cancels_);
    stop = stopping_;
    all = std::exchange(cancel_all_, false);
  }
  for (auto& sequence : arrived) {
    next_deadline_ = std::min(next_deadline_, sequence->deadline);
    scheduler_.add(std::move(sequence));
  }
  if (all)
    for (auto& sequence : scheduler_.remove_all()) finish(std::move(sequence), FinishReason::kCancelled);
  fail_late();
  for (const RequestId id : cancelled)
    if (auto sequence = scheduler_.remove(id)) finish(std::move(sequence), FinishReason::kCancelled);
  return !stop;
}

void Engine::Loop::step() {
  const auto begin = Clock::now();
  guesser_.propose(scheduler_);
  const auto guessed = Clock::now();
  scheduler_.limit_prompt_rows(pace_.prompt_rows());
  const std::vector<Chunk>& chunks = scheduler_.plan();
  if (chunks.empty()) return;
  device_.copy_blocks();
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
  guesser_.note_step(chunks, seconds_between(ready, now_));
  pace_.note(counts.prompt_rows, counts.rows > counts.prompt_rows, seconds_between(ready, now_));

  logits_.read(device_.plan(device_.size() - 1, plan));
  hand_out(chunks, begin);
  device_.advance(plan);
  count_time(begin, guessed, ready);
}

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
  if (device_.blocks().pools.empty()) return;
  const BlockPool& pool = device_.blocks().pools[0];
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
  sequence.computed += std::min(right, made() - 1);
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
  if (!append(sequence, token, std::move(event))) return false;
  if (!sequence.constraint || sequence.request.logprobs) return true;  // forced tokens have no logprobs
  for (const TokenId forced : sequence.constraint->forced())
    if (!append(sequence, forced, {})) return false;
  return true;
}

// False where the answer ends with this token.
bool Engine::Loop::append(Sequence& sequence, TokenId token, GenerationEvent event) {
  const auto& stop_ids = model_.stop_ids();
  const bool is_stop =
      !sequence.request.ignore_eos && std::find(stop_ids.begin(), stop_ids.end(), token) != stop_ids.end();
  if (is_stop && !sequence.request.stop_logprob) event.logprobs.clear();
  if (sequence.constraint && !sequence.constraint->accept(token)) {
    ended_.emplace_back(sequence.id, FinishReason::kError);
    return false;
  }
  sequence.tokens.push_back(token);
  sequence.adjustments.add_answer(token);
  const std::size_t ended = ended_.size();
  emit(sequence, token, is_stop, event);
  return ended_.size() == ended;
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
  sequence.sink(std::move(event));
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
  if (reason != FinishReason::kNone) {
    ended_.emplace_back(sequence.id, reason);
    if (sequence.decoder && !sequence.stops.stopped()) {
      event.text += sequence.stops.push(sequence.decoder->flush());
      event.text += sequence.stops.flush();
    }
  }
  event.usage = usage(sequence);
  // The last event carries the reason; finish() sends none of its own then.
  event.finish = reason;
  sequence.sink(std::move(event));
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
    sequence->sink(std::move(event));
  }
  if (!cancelled) timing_.request.add(seconds_between(sequence->times.submitted, sequence->times.last_token));
  leave(std::move(sequence), cancelled ? &EngineStats::cancelled : &EngineStats::finished,
        reason == FinishReason::kLength);
}

// Ends a sequence with an error.
void Engine::Loop::fail(std::unique_ptr<Sequence> sequence, ErrorKind kind, const std::string& error) {
  GenerationEvent event;
  event.finish = FinishReason::kError;
  event.error = error;
  event.error_kind = kind;
  event.usage = usage(*sequence);
  sequence->sink(std::move(event));
  leave(std::move(sequence), &EngineStats::failed);
}

// Its blocks are free again when this returns.
void Engine::Loop::leave(std::unique_ptr<Sequence> sequence, std::uint64_t EngineStats::*counter, bool by_length) {
  const std::string client = std::move(sequence->request.client);
  guesser_.forget(sequence->id);
  sequence.reset();
  std::lock_guard lock(mutex_);
  note_blocks();
  --alive_;
  const auto own = alive_of_.find(client);
  if (--own->second == 0) alive_of_.erase(own);
  ++(stats_.*counter);
  if (by_length) ++stats_.finished_by_length;
  rate_.note_end(Clock::now());
  if (alive_ == 0) idle_.notify_all();
}

// Ends what has run out of time, waiting or running.
void Engine::Loop::fail_late() {
  if (next_deadline_ == Clock::time_point::max()) return;
  const auto now = Clock::now();
  if (now < next_deadline_) return;
  std::vector<RequestId> late;
  next_deadline_ = Clock::time_point::max();
  scheduler_.each([&](const Sequence& sequence) {
    if (sequence.deadline <= now)
      late.push_back(sequence.id);
    else
      next_deadline_ = std::min(next_deadline_, sequence.deadline);
  });
  for (const RequestId id : late) {
    auto sequence = scheduler_.remove(id);
    const std::string where = sequence->answering()
                                  ? std::to_string(sequence->answer_size()) + " tokens of the answer were made"
                              : sequence->counted ? "its prompt was being read"
                                                  : "it still waited for its turn";
    const std::string limit = std::to_string(sequence->request.timeout.count());
    {
      std::lock_guard lock(mutex_);
      ++stats_.timed_out;
    }
    fail(std::move(sequence), ErrorKind::kTimeout, "the request's timeout of " + limit + " ms has passed: " + where);
  }
}

// A failed step cannot be repeated: its cache rows are unknown. All in flight ends; on a lost device later work too.
void Engine::Loop::fail_all(std::string error) {
  if (device_.lost()) {
    error += ": this request can be retried elsewhere, or here once the device is back";
    std::lock_guard lock(mutex_);
    lost_ = error;
  }
  const ErrorKind kind = device_.lost() ? ErrorKind::kUnavailable : ErrorKind::kInternal;
  device_.blocks().copies.clear();
  for (auto& sequence : scheduler_.remove_all()) fail(std::move(sequence), kind, error);
  scheduler_.adapters().forget();
}

// ---- The public face ----------------------------------------

Engine::Engine(std::shared_ptr<Model> model, const EngineOptions& options)
    : model_(std::move(model)), loop_(std::make_unique<Loop>(*model_, options)) {}
Engine::~Engine() = default;
RequestId Engine::submit(GenerationRequest request, EventSink sink) {
  return loop_->submit(std::move(request), std::move(sink));
}
void Engine::cancel(RequestId id) { loop_->cancel(id); }
void Engine::cancel_all() { loop_->cancel_all(); }
std::uint32_t Engine::embedding_width() const noexcept {
  return nacelle::embedding_width(model_->device().last().graph());
}

Engine::Load Engine::load() const { return loop_->load(); }
bool Engine::can_serve() const noexcept { return !model_->device().lost(); }
bool Engine::can_recover() const noexcept { return model_->device().lost() && model_->device().recoverable(); }
bool Engine::drain(std::chrono::milliseconds deadline) { return loop_->drain(deadline); }
EngineStats Engine::stats() const {
  EngineStats stats = loop_->stats();
  const nacelle_plan_statistics plan = model_->device().statistics();
  stats.submits_per_step = plan.submits_per_step;
  stats.allocs_per_step = plan.allocs_per_step;
  return stats;
}

}  // namespace nacelle
