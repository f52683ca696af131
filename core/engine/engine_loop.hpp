// The engine's insides: what its files share. Requests live on the loop's thread; other threads only reach the
// inbox, under its lock.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "core/engine/engine.hpp"
#include "core/engine/guesser.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/scheduler.hpp"
#include "core/engine/service_rate.hpp"
#include "core/engine/step.hpp"
#include "core/engine/step_pace.hpp"
#include "core/engine/timing.hpp"

namespace nacelle {

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
  using Clock = std::chrono::steady_clock;
  class Place;

  void main();
  bool take_commands();
  void step();
  void hand_out(const std::vector<Chunk>& chunks, Clock::time_point begin);
  void read_prompt(const Chunk& chunk, std::uint32_t row);
  std::uint32_t advance(const Chunk& chunk, std::uint32_t row);
  bool choose(Sequence& sequence, std::uint32_t row, std::uint32_t nth);
  bool append(Sequence& sequence, TokenId token, GenerationEvent event);
  bool append_forced(Sequence& sequence);
  void end_text(Sequence& sequence, FinishReason reason, GenerationEvent& event);
  void follow_grammars();
  bool get_ready(Sequence& sequence);
  void note_grammar_work();
  void trim_guesses();
  template <class Call>
  auto within_step(Sequence& sequence, Call&& call);
  void end_with_prompt(Sequence& sequence, std::uint32_t row);
  void emit(Sequence& sequence, TokenId token, bool is_stop, GenerationEvent& event);
  void finish(std::unique_ptr<Sequence> sequence, FinishReason reason);
  void fail(std::unique_ptr<Sequence> sequence, ErrorKind kind, const std::string& error);
  void fail_all(const char* why) noexcept;
  void cancel_rest();
  void tell(Sequence& sequence, GenerationEvent&& event);
  void tell_end(Sequence& sequence, GenerationEvent&& event) noexcept;
  void leave(std::unique_ptr<Sequence> sequence, std::uint64_t EngineStats::*counter, bool by_length = false);
  void remove_ended();
  void count_time(Clock::time_point begin, Clock::time_point guessed, Clock::time_point ready);
  void fail_late();
  void check_room(const std::string& client);
  void give_back(const std::string& client);
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
  std::vector<std::unique_ptr<Sequence>> arrived_;         // on their way to the scheduler
  std::vector<std::pair<RequestId, FinishReason>> ended_;  // in this step
  std::uint64_t grammar_left_ = 0, grammar_used_ = 0;      // of ConstraintWork::kOfStep; together, but for one call
  std::uint64_t grammar_before_ = 0;                       // what the step before used
  std::vector<Sequence*> unready_;                         // whose grammar is not, in this step
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

// What `call` gives for the sequence's constraint, at the cost of the step's share of work.
template <class Call>
auto Engine::Loop::within_step(Sequence& sequence, Call&& call) {
  SequenceConstraint& constraint = *sequence.constraint;
  const std::uint64_t before = constraint.work();
  constraint.allow(std::max(grammar_left_, ConstraintWork::kAlways));
  auto result = call(constraint);
  const std::uint64_t took = constraint.work() - before;
  grammar_left_ -= std::min(grammar_left_, took);
  grammar_used_ += took;
  return result;
}

}  // namespace nacelle
