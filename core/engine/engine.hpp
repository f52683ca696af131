// The engine: continuous batching of requests over one loaded model. One thread steps the model; any thread may submit.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "core/engine/histogram.hpp"
#include "core/engine/model.hpp"
#include "core/engine/request.hpp"

namespace nacelle {

// Guessing tokens ahead. It changes no answer: see core/engine/guesser.hpp.
struct SpeculationOptions {
  bool lookup = true;             // from the sequence's own text
  std::shared_ptr<Model> draft;   // from a smaller model with the same tokens, instead
  std::uint32_t max_guesses = 8;  // tokens a sequence a step, kMaxGuesses at most
  bool measured = true;           // only where it pays; false: whenever there is something to guess (tests)
};

struct EngineOptions {
  std::uint32_t max_queue = 256;           // requests waiting; one more is refused with BusyError
  std::uint32_t max_queue_per_client = 0;  // of one client's, running ones too; 0: no limit of its own
  bool prefix_cache = true;                // KV of equal prefixes is computed once
  SpeculationOptions speculation = {};
};

// A snapshot of counters and gauges.
struct EngineStats {
  std::uint32_t running = 0, waiting = 0;
  std::uint64_t requests = 0, finished = 0, cancelled = 0, failed = 0;
  std::uint64_t refused = 0, timed_out = 0;  // for want of room; of the failed, those that ran out of time
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;
  std::uint64_t steps = 0, preemptions = 0;
  // Of the prompts that began to run: their tokens, and those of them that were in the prefix cache.
  std::uint64_t prefix_tokens = 0, cached_tokens = 0;
  std::uint32_t blocks_total = 0, blocks_free = 0, blocks_cached = 0;  // cached ones may be free
  std::uint32_t states_total = 0, states_free = 0;                     // of sequences; 0 where the model keeps none
  std::uint32_t submits_per_step = 0, allocs_per_step = 0;
  std::uint64_t finished_by_length = 0;                   // of `finished`
  std::uint64_t guessed_tokens = 0, accepted_tokens = 0;  // speculated, and those of them that came true
  // Of all steps together: choosing the rows and writing them; waiting for the device; sampling and handing out; and
  // before all that, what a draft model takes.
  double plan_seconds = 0, device_seconds = 0, sample_seconds = 0, draft_seconds = 0;
  double host_cpu_seconds = 0;  // CPU time of the engine's thread, but for the device's part: as of the last step's run
  std::uint64_t grammar_work = 0, most_grammar_work = 0;     // ConstraintWork's steps: of all, and the most in one step
  std::uint32_t max_adapters = 0;                            // slots
  std::set<std::string> running_adapters, waiting_adapters;  // of requests, as of the last step
  HistogramSnapshot first_token, inter_token, queue_time, request_time, step_rows;  // see EngineTiming
};

using RequestId = std::uint64_t;

class Engine {
 public:
  // Starts the thread. The model is shared with whoever inspects it.
  explicit Engine(std::shared_ptr<Model> model, const EngineOptions& options = {});
  // Cancels what still runs and joins.
  ~Engine();

  // [any thread] Checks and queues. Throws Error: kInvalidArgument (param names the field) where the request can never
  // run, BusyError where the queue is full, kUnavailable after drain(). `sink` gets at least one event, unless submit
  // throws.
  RequestId submit(GenerationRequest request, EventSink sink);
  // [any thread] The request ends within one step, with kCancelled. Unknown ids are ignored: it may just have finished.
  void cancel(RequestId id);
  // [any thread] The same for all requests that were submitted before.
  void cancel_all();

  // [any thread] Takes no new requests; returns true when all have finished, false at the deadline.
  bool drain(std::chrono::milliseconds deadline);

  // [any thread] For choosing among engines.
  struct Load {
    std::size_t requests = 0;  // waiting and running
    double seconds_each = 0;   // from one's end to the next one's while there were any; 0: none has ended yet
  };
  Load load() const;

  // [any thread] False once a device of the model is lost: every later submit throws Error(kUnavailable).
  bool can_serve() const noexcept;
  // [any thread] True where it cannot serve, and the model, loaded once more, may: its device's plugin is isolated.
  bool can_recover() const noexcept;

  // Width of the rows that a request to embed gets; 0: the model has none.
  std::uint32_t embedding_width() const noexcept;

  const Model& model() const noexcept { return *model_; }
  EngineStats stats() const;

 private:
  class Loop;
  std::shared_ptr<Model> model_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace nacelle
