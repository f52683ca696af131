// One request while it is in the engine: its tokens, its place in the KV cache, and what its next token depends on.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "core/engine/engine.hpp"
#include "core/engine/kv_blocks.hpp"
#include "core/engine/sampler.hpp"
#include "core/engine/stop_matcher.hpp"

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
        stops(request.stop) {
    if (tokenizer) decoder.emplace(*tokenizer, true, !request.continues_text, request.shown_special);
    adjustments.add_prompt(request.prompt);
  }

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(tokens.size()); }
  std::uint32_t prompt_size() const noexcept { return static_cast<std::uint32_t>(request.prompt.size()); }
  std::uint32_t answer_size() const noexcept { return size() - prompt_size(); }
  // Tokens that the next steps must compute; 1 while decoding.
  std::uint32_t pending() const noexcept { return size() - computed; }

  RequestId id;
  GenerationRequest request;
  EventSink sink;
  std::vector<TokenId> tokens;  // the prompt, then the answer
  std::uint32_t computed = 0;   // tokens whose keys and values are in the cache
  std::uint32_t limit;          // size() at which the answer ends
  SequenceBlocks blocks;
  Sampler sampler;
  Adjustments adjustments;
  StopMatcher stops;
  std::optional<StreamDecoder> decoder;
};

}  // namespace nacelle
