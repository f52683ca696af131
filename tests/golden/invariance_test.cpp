// A row's logits do not depend on what else is in the step, on the chunks of its prefill or on the thread count: bit
// for bit, at batches of 1, 2, 7, 16, 33 and chunks of 1, 17, 512 (DESIGN.md section 6).
#include <catch2/catch.hpp>
#include <random>

#include "core/engine/device_model.hpp"
#include "core/engine/step.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

std::vector<TokenId> random_prompt(std::size_t size, unsigned seed, std::uint32_t vocabulary) {
  std::mt19937 random(seed);
  std::vector<TokenId> prompt(size);
  for (TokenId& token : prompt) token = static_cast<TokenId>(random() % vocabulary);
  return prompt;
}

// Computes all sequences to the end of their prompts, `chunk` tokens of each a step; returns each one's last logits.
std::vector<std::vector<float>> last_logits(Model& model, const std::vector<std::vector<TokenId>>& prompts,
                                            std::uint32_t chunk) {
  DeviceModel& device = model.device();
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (const auto& prompt : prompts) {
    sequences.push_back(std::make_unique<Sequence>(
        sequences.size(), greedy(prompt, 1), [](GenerationEvent&&) {}, device.blocks(), nullptr, 0,
        static_cast<std::uint32_t>(prompt.size() + 1)));
    REQUIRE(sequences.back()->blocks.reserve(sequences.back()->size()));
  }
  std::vector<std::vector<float>> result(prompts.size());
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
    Plan& plan = device.plan_for(counts.rows, counts.sequences, counts.output_rows);
    std::vector<bool> host_adjusted;
    write_step(chunks, plan, device.step_block(plan), host_adjusted);
    device.run(plan);
    std::uint32_t row = 0;
    for (const Chunk& done : chunks) {
      done.sequence->computed += done.count;
      if (done.sequence->pending() != 0) continue;
      auto& logits = result[done.sequence->id];
      logits.resize(device.graph().vocabulary);
      device.read_logits(plan, row++, false, logits);
    }
    DeviceModel::advance(plan);
  }
  return result;
}

void check_invariance(const std::string& path, const std::string& isa, unsigned threads) {
  INFO(path << " isa '" << isa << "' threads " << threads);
  const auto host = make_host(threads, isa);
  const auto model = Model::load(*host, {.path = path, .device = "cpu", .max_sequences = 33, .max_batch_tokens = 600});
  const std::uint32_t vocabulary = model->device().graph().vocabulary;
  std::vector<std::vector<TokenId>> prompts;
  for (unsigned i = 0; i < 33; ++i) prompts.push_back(random_prompt(3 + i * 5 % 67, i, vocabulary));
  prompts[0] = random_prompt(400, 99, vocabulary);
  // Each sequence computed alone, in one chunk: what any company must reproduce.
  std::map<std::size_t, std::vector<float>> alone;
  for (const std::size_t batch : {1u, 2u, 7u, 16u, 33u})
    alone[batch] = last_logits(*model, {prompts[batch - 1]}, 512)[0];
  for (const std::uint32_t chunk : {1u, 17u, 512u}) {
    for (const std::size_t batch : {1u, 2u, 7u, 16u, 33u}) {
      INFO("chunk " << chunk << " batch " << batch);
      const auto together = last_logits(*model, {prompts.begin(), prompts.begin() + static_cast<long>(batch)}, chunk);
      CHECK(together[0] == alone[1]);
      CHECK(together[batch - 1] == alone[batch]);
    }
  }
}

}  // namespace

TEST_CASE("logits are bitwise equal at any batch and chunk: Q8_0 demo model") {
  const std::string demo = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
  check_invariance(demo, "", 2);
#if !NACELLE_SANITIZED  // a minute there; the kernel tests cover it
  check_invariance(demo, "portable", 1);
#endif
}

TEST_CASE("logits are bitwise equal at any batch and chunk: F16 and F32 weights") {
  if (have_shared("models/nacelle-demo/nacelle-demo-f16.gguf"))
    check_invariance(shared_dir() / "models/nacelle-demo/nacelle-demo-f16.gguf", "", 2);
  if (have_shared("models/tinystories-656k/tinystories-656k-f32.gguf"))
    check_invariance(shared_dir() / "models/tinystories-656k/tinystories-656k-f32.gguf", "", 1);
}

TEST_CASE("logits do not depend on the number of threads") {
  const std::string demo = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
  std::vector<std::vector<float>> first;
  for (const unsigned threads : {1u, 2u, 3u}) {
    const auto host = make_host(threads);
    const auto model = Model::load(*host, {.path = demo, .device = "cpu"});
    const auto logits = last_logits(*model, {random_prompt(100, 1, 2048)}, 512);
    if (first.empty()) first = logits;
    CHECK(logits == first);
  }
}
