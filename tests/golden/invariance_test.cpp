// A row's logits do not depend on what else is in the step, on the chunks of its prefill or on the thread count: bit
// for bit, at batches of 1, 2, 7, 16, 33 and chunks of 1, 17, 512 (DESIGN.md section 6).
#include <catch2/catch.hpp>
#include <random>

#include "core/engine/placed_model.hpp"
#include "core/engine/step.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

#if NACELLE_SANITIZED  // all of them take minutes there, and show no more faults of memory
const std::vector<std::uint32_t> kChunks = {17};
const std::vector<std::size_t> kBatches = {1, 7};
#else
const std::vector<std::uint32_t> kChunks = {1, 17, 512};
const std::vector<std::size_t> kBatches = {1, 2, 7, 16, 33};
#endif

void check_invariance(const std::string& path, const std::string& isa, unsigned threads) {
  INFO(path << " isa '" << isa << "' threads " << threads);
  const auto host = make_host(threads, isa);
  const auto model = Model::load(*host, {.path = path, .device = "cpu", .max_sequences = 33, .max_batch_tokens = 600});
  const std::uint32_t vocabulary = model->device().vocabulary();
  std::vector<std::vector<TokenId>> prompts;
  for (unsigned i = 0; i < 33; ++i) prompts.push_back(random_prompt(3 + i * 5 % 67, i, vocabulary));
  prompts[0] = random_prompt(400, 99, vocabulary);
  // Each sequence computed alone, in one chunk: what any company must reproduce.
  std::map<std::size_t, std::vector<float>> alone;
  for (const std::size_t batch : kBatches) alone[batch] = last_logits(*model, {prompts[batch - 1]}, 512)[0];
  for (const std::uint32_t chunk : kChunks) {
    for (const std::size_t batch : kBatches) {
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
#if !NACELLE_SANITIZED
  check_invariance(demo, "portable", 1);
#endif
}

#if !NACELLE_SANITIZED
TEST_CASE("logits are bitwise equal at any batch and chunk: F16 and F32 weights") {
  if (have_shared("models/nacelle-demo/nacelle-demo-f16.gguf"))
    check_invariance(shared_dir() / "models/nacelle-demo/nacelle-demo-f16.gguf", "", 2);
  if (have_shared("models/tinystories-656k/tinystories-656k-f32.gguf"))
    check_invariance(shared_dir() / "models/tinystories-656k/tinystories-656k-f32.gguf", "", 1);
}
#endif

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

// The last token's attention is one call a KV head beside a whole prompt or on one thread, and a call for each split of
// the context where there are more threads.
TEST_CASE("logits do not depend on how attention to a long context is divided") {
  const std::string demo = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
  const std::vector<TokenId> prompt = random_prompt(1000, 1, 2048);
  std::vector<std::vector<float>> first;
  for (const unsigned threads : {1u, 2u, 5u}) {
    const auto host = make_host(threads);
    const auto model = Model::load(*host, {.path = demo, .device = "cpu", .max_batch_tokens = 1000});
    for (const std::uint32_t chunk : {1000u, 333u, 499u}) {  // the last step has all rows, one, two
      INFO("threads " << threads << " chunk " << chunk);
      const auto logits = last_logits(*model, {prompt}, chunk);
      if (first.empty()) first = logits;
      CHECK(logits == first);
    }
  }
}
