// The engine as other threads reach it.
#include "core/engine/engine.hpp"

#include <nacelle/graph_view.hpp>
#include <optional>
#include <utility>

#include "core/base/error.hpp"
#include "core/engine/engine_loop.hpp"
#include "core/engine/request_check.hpp"

namespace nacelle {

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

// ---- Called from any thread

std::unique_ptr<Sequence> Engine::Loop::make_sequence(RequestId id, GenerationRequest request, EventSink sink) {
  const std::uint32_t room = model_.context() - static_cast<std::uint32_t>(request.prompt.size());
  const std::uint32_t answer = request.prompt_only       ? 0
                               : request.max_tokens == 0 ? room
                                                         : std::min(room, request.max_tokens);
  const auto limit = static_cast<std::uint32_t>(request.prompt.size()) + answer;
  const std::uint64_t seed = request.sampling.seed.value_or(random_seed());
  auto sequence = std::make_unique<Sequence>(id, std::move(request), std::move(sink), device_.blocks(),
                                             model_.has_tokenizer() ? &model_.tokenizer() : nullptr, seed, limit);
  if (!sequence->request.ignore_eos) sequence->adjustments.hold_back(model_.stop_ids(), sequence->request.min_tokens);
  return sequence;
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

// A request's place among those under way, from check_room() until the engine's thread will see to it: given back where
// something throws between.
class Engine::Loop::Place {
 public:
  // Under mutex_.
  Place(Loop& loop, const std::string& client) : loop_(loop), of_client_(*loop.alive_of_.try_emplace(client).first) {
    ++of_client_.second;
    if (loop.alive_++ == 0) loop.rate_.begin(Clock::now());
  }
  // Not under mutex_.
  ~Place() {
    if (kept_) return;
    const std::lock_guard lock(loop_.mutex_);
    loop_.give_back(of_client_.first);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  void keep() noexcept { kept_ = true; }

 private:
  Loop& loop_;
  std::pair<const std::string, std::size_t>& of_client_;  // stays where it is while it counts this one
  bool kept_ = false;
};

// Under mutex_. `client` may be the key of the entry.
void Engine::Loop::give_back(const std::string& client) {
  const auto own = alive_of_.find(client);
  if (--own->second == 0) alive_of_.erase(own);
  if (--alive_ == 0) idle_.notify_all();
}

RequestId Engine::Loop::submit(GenerationRequest request, EventSink sink) {
  check_request(request, model_);
  std::optional<Place> place;
  RequestId id;
  {
    std::lock_guard lock(mutex_);
    check_room(request.client);
    place.emplace(*this, request.client);
    id = next_id_++;
  }
  // Outside the lock: it takes time with a long prompt. The place is taken, so drain() waits for it.
  auto sequence = make_sequence(id, std::move(request), std::move(sink));
  std::lock_guard lock(mutex_);
  inbox_.push_back(std::move(sequence));
  place->keep();
  ++stats_.requests;
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

// ---- The public face

Engine::Engine(std::shared_ptr<Model> model, const EngineOptions& options)
    : model_(std::move(model)), loop_(std::make_unique<Loop>(*model_, options)) {}
Engine::~Engine() = default;
RequestId Engine::submit(GenerationRequest request, EventSink sink) {
  return loop_->submit(std::move(request), std::move(sink));
}
void Engine::cancel(RequestId id) { loop_->cancel(id); }
void Engine::cancel_all() { loop_->cancel_all(); }
std::uint32_t Engine::embedding_width() const noexcept { return sdk::embedding_width(model_->device().last().graph()); }

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
