// Logits of whole prompts, computed step by step below the engine's loop.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <vector>

#include "core/engine/placed_model.hpp"
#include "core/engine/step.hpp"
#include "tests/support/engine_fixture.hpp"

namespace nacelle::test {

inline std::vector<TokenId> random_prompt(std::size_t size, unsigned seed, std::uint32_t vocabulary) {
  std::mt19937 random(seed);
  std::vector<TokenId> prompt(size);
  for (TokenId& token : prompt) token = static_cast<TokenId>(random() % vocabulary);
  return prompt;
}

// Computes all sequences to the end of their prompts, `chunk` tokens of each a step; returns each one's last logits.
// `adapters`: of each prompt, where given; the model has slots for them all.
inline std::vector<std::vector<float>> last_logits(Model& model, const std::vector<std::vector<TokenId>>& prompts,
                                                   std::uint32_t chunk, const std::vector<AdapterPtr>& adapters = {}) {
  PlacedModel& device = model.device();
  AdapterTable slots(model.options().max_adapters);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (const auto& prompt : prompts) {
    sequences.push_back(std::make_unique<Sequence>(
        sequences.size(), greedy(prompt, 1), [](GenerationEvent&&) {}, device.blocks(), nullptr, 0,
        static_cast<std::uint32_t>(prompt.size() + 1)));
    REQUIRE(sequences.back()->blocks.reserve(sequences.back()->size()));
    if (adapters.empty() || !adapters[sequences.size() - 1]) continue;
    sequences.back()->request.adapter = adapters[sequences.size() - 1];
    sequences.back()->adapter = slots.take(sequences.back()->request.adapter);
  }
  for (const AdapterTable::Write& write : slots.writes()) device.write_adapter(write.slot, *write.adapter);
  std::vector<std::vector<float>> result(prompts.size());
  DeviceRow logits(device);
  for (bool more = true; more;) {
    std::vector<Chunk> chunks;
    std::uint32_t budget = model.options().max_batch_tokens;
    for (const auto& sequence : sequences) {
      const std::uint32_t count = std::min({chunk, sequence->pending(), budget});
      if (count == 0) continue;
      chunks.push_back({sequence.get(), sequence->computed, count});
      budget -= count;
    }
    more = !chunks.empty();
    if (!more) break;
    const StepCounts counts = count_step(chunks);
    const std::size_t plan = device.plan_for(counts);
    std::vector<bool> host_adjusted;
    write_step(chunks, device, plan, host_adjusted);
    device.run(plan, counts);
    std::uint32_t row = 0;
    for (const Chunk& done : chunks) {
      done.sequence->computed += done.count;
      done.sequence->blocks.trim(done.sequence->computed);
      if (done.sequence->pending() != 0) continue;
      logits.read(device.plan(device.size() - 1, plan));
      logits.select(row, *done.sequence, host_adjusted[row]);
      ++row;
      const auto whole = logits.whole_raw();
      result[done.sequence->id].assign(whole.begin(), whole.end());
    }
    device.advance(plan);
  }
  return result;
}

}  // namespace nacelle::test
