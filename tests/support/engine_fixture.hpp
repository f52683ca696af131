// For tests that run models: the plugins of this build, models loaded on a device, requests awaited.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "core/engine/engine.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::test {

// The plugins that this build made. `isa` caps the CPU backend's level ("" : the best).
inline std::unique_ptr<PluginHost> make_host(unsigned threads = 2, const std::string& isa = "") {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS};
  options.threads = threads;
  if (!isa.empty()) options.config["backend.cpu.isa"] = isa;
  return std::make_unique<PluginHost>(options);
}

struct Answer {
  std::string text;
  std::vector<TokenId> ids;
  std::vector<TokenLogprob> logprobs, prompt_logprobs;
  std::vector<float> embedding;
  FinishReason finish = FinishReason::kNone;
  Usage usage;
  std::string error;
  ErrorKind error_kind = ErrorKind::kInternal;
};

// Submits on construction; wait() blocks until the last event.
class Pending {
 public:
  Pending(Engine& engine, GenerationRequest request) : state_(std::make_shared<State>()) {
    id = engine.submit(std::move(request), [state = state_](GenerationEvent&& event) {
      std::lock_guard lock(state->mutex);
      Answer& answer = state->answer;
      answer.text += event.text;
      answer.ids.insert(answer.ids.end(), event.ids.begin(), event.ids.end());
      answer.logprobs.insert(answer.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
      answer.prompt_logprobs.insert(answer.prompt_logprobs.end(), event.prompt_logprobs.begin(),
                                    event.prompt_logprobs.end());
      answer.embedding = event.embedding;
      answer.usage = event.usage;
      answer.finish = event.finish;
      answer.error = event.error;
      answer.error_kind = event.error_kind;
      ++state->events;
      state->changed.notify_all();
    });
  }
  Answer wait() {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [this] { return state_->answer.finish != FinishReason::kNone; });
    return state_->answer;
  }
  // Blocks until `count` events have come (or the last one).
  void wait_events(int count) {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [&] { return state_->events >= count || state_->answer.finish != FinishReason::kNone; });
  }
  RequestId id = 0;

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    Answer answer;
    int events = 0;
  };
  std::shared_ptr<State> state_;
};

inline Answer generate(Engine& engine, GenerationRequest request) { return Pending(engine, std::move(request)).wait(); }

inline GenerationRequest greedy(std::vector<TokenId> prompt, std::uint32_t max_tokens) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.max_tokens = max_tokens;
  return request;
}

}  // namespace nacelle::test
