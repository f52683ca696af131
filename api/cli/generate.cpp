#include "api/cli/generate.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "core/base/error.hpp"

namespace nacelle::cli {
namespace {

// Filled on the engine's thread. Shared with the sink, which may outlive the caller of a request that was given up.
class Inbox {
 public:
  void push(GenerationEvent&& event) {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (result_.ids.empty())
      result_.first_token = now;
    else if (!event.ids.empty())
      result_.gaps.push_back(now - result_.last_token);
    result_.last_token = now;
    result_.text += event.text;
    result_.ids.insert(result_.ids.end(), event.ids.begin(), event.ids.end());
    result_.usage = event.usage;
    result_.finish = event.finish;
    error_ = std::move(event.error);
    error_kind_ = event.error_kind;
    // Who waits for the end is not woken at each token: on few cores it would take the CPU from the computation.
    if (wants_text_ || result_.finish != FinishReason::kNone) changed_.notify_one();
  }

  // Waits for text beyond `seen` bytes or the end, at most a moment. Returns the new text.
  std::string wait(std::size_t seen) {
    std::unique_lock lock(mutex_);
    wants_text_ = true;
    const auto ready = [&] { return result_.text.size() > seen || result_.finish != FinishReason::kNone; };
    changed_.wait_for(lock, std::chrono::milliseconds(50), ready);
    return result_.text.substr(seen);
  }

  void wait_finished() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return result_.finish != FinishReason::kNone; });
  }

  bool finished() const {
    const std::lock_guard lock(mutex_);
    return result_.finish != FinishReason::kNone;
  }

  Generated take() {
    const std::lock_guard lock(mutex_);
    if (result_.finish == FinishReason::kError) throw Error(error_kind_, error_);
    return std::move(result_);
  }

  void set_submitted(std::chrono::steady_clock::time_point time) { result_.submitted = time; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool wants_text_ = false;
  Generated result_;
  std::string error_;
  ErrorKind error_kind_ = ErrorKind::kInternal;
};

struct Pending {
  std::shared_ptr<Inbox> inbox = std::make_shared<Inbox>();
  RequestId id = 0;
};

Pending submit(Engine& engine, GenerationRequest request) {
  Pending pending;
  pending.inbox->set_submitted(std::chrono::steady_clock::now());
  pending.id = engine.submit(std::move(request),
                             [inbox = pending.inbox](GenerationEvent&& event) { inbox->push(std::move(event)); });
  return pending;
}

}  // namespace

Generated generate(Engine& engine, GenerationRequest request, const std::function<void(std::string_view)>& on_text,
                   const std::function<bool()>& stop) {
  const Pending pending = submit(engine, std::move(request));
  std::size_t seen = 0;
  bool stopped = false;
  for (bool last = false; !last;) {
    last = pending.inbox->finished();  // before the text is read: none can follow
    const std::string text = pending.inbox->wait(seen);
    seen += text.size();
    if (on_text && !text.empty()) on_text(text);
    if (!stopped && stop && stop()) {
      stopped = true;
      engine.cancel(pending.id);
    }
  }
  return pending.inbox->take();
}

std::vector<Generated> generate_all(Engine& engine, std::vector<GenerationRequest> requests) {
  std::vector<Pending> pending;
  pending.reserve(requests.size());
  for (GenerationRequest& request : requests) pending.push_back(submit(engine, std::move(request)));
  std::vector<Generated> results;
  for (const Pending& one : pending) {
    one.inbox->wait_finished();
    results.push_back(one.inbox->take());
  }
  return results;
}

}  // namespace nacelle::cli
