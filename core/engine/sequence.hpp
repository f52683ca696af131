// One request while it is in the engine: its tokens, its place in the KV cache, and what its next token depends on.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/engine/adapter.hpp"
#include "core/engine/constraint.hpp"
#include "core/engine/engine.hpp"
#include "core/engine/fairness.hpp"
#include "core/engine/kv_blocks.hpp"
#include "core/engine/prompt_logprobs.hpp"
#include "core/engine/sampler.hpp"
#include "core/engine/speculation.hpp"
#include "core/engine/stop_matcher.hpp"
#include "core/engine/timing.hpp"

namespace nacelle {

struct Sequence {
  Sequence(RequestId request_id, GenerationRequest asked, EventSink events, KvBlocks& pools, const Tokenizer* tokenizer,
           std::uint64_t seed, std::uint32_t token_limit)
      : id(request_id),
        request(std::move(asked)),
        sink(std::move(events)),
        tokens(request.prompt),
        limit(token_limit),
        blocks(pools),
        sampler(request.sampling, seed),
        adjustments(request.sampling),
        prompt_logprobs(request),
        stops(request.stop) {
    // A grammar speaks of the whole text: no first space of it is dropped, but of one that begins with free text.
    const bool from_the_start = request.continues_text || (request.grammar && !request.grammar->is_composition());
    if (tokenizer) decoder.emplace(*tokenizer, true, !from_the_start, request.shown_special);
    if (request.grammar) constraint.emplace(request.grammar);
    adjustments.add_prompt(request.prompt);
    blocks.name(cache_name(request), tokens);
    if (request.timeout.count() > 0) deadline = std::chrono::steady_clock::now() + request.timeout;
  }

  // KV is shared among requests of one adapter and one salt; the pools are of one model and its KV types already. A
  // salt cannot pass for a hash: those have no line feed.
  static std::string cache_name(const GenerationRequest& request) {
    return (request.adapter ? request.adapter->hash : std::string()) + '\n' + request.cache_salt;
  }

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(tokens.size()); }
  std::uint32_t prompt_size() const noexcept { return static_cast<std::uint32_t>(request.prompt.size()); }
  std::uint32_t answer_size() const noexcept { return size() - prompt_size(); }
  bool answering() const noexcept { return answer_size() > 0; }
  // Those that need no computing where the prefix cache has them: not the ones whose logits are wanted.
  std::span<const TokenId> shareable() const noexcept {
    return std::span(tokens).first(prompt_logprobs.done() ? tokens.size() : prompt_logprobs.next());
  }
  // Tokens that the next steps must compute; 1 while decoding.
  std::uint32_t pending() const noexcept { return size() - computed; }

  RequestId id;
  RequestTimes times;
  GenerationRequest request;
  EventSink sink;
  std::vector<TokenId> tokens;  // the prompt, then the answer
  std::uint32_t computed = 0;   // tokens whose keys and values are in the cache
  std::uint32_t limit;          // size() at which the answer ends
  SequenceBlocks blocks;
  Sampler sampler;
  Adjustments adjustments;
  PromptLogprobs prompt_logprobs;
  StopMatcher stops;
  std::optional<StreamDecoder> decoder;
  std::optional<SequenceConstraint> constraint;
  bool told = false;  // its last event is out
  bool held = false;  // its grammar is not ready for the next step, which goes without it
  // Tokens that may come next, to be verified in the next step (core/engine/guesser.hpp).
  std::vector<TokenId> guess;
  Acceptance acceptance;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  // The scheduler's.
  FairShare::Account* account = nullptr;
  AdapterTable::Hold adapter;  // while it runs
  bool running = false;
  std::uint64_t round = 0;   // the plan that looked at it last
  bool counted = false;      // `cached` is known
  std::uint32_t cached = 0;  // tokens of the prompt that were in the prefix cache when it began to run
};

}  // namespace nacelle
