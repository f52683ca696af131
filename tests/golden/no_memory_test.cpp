// Engine::submit() where memory ends: every allocation that it makes fails once. A program of its own, for the sake of
// its operator new.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <future>
#include <new>

#include "tests/golden/demo.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

thread_local int allocations_left = -1;  // of this thread, until one fails; negative: none does

}  // namespace

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (allocations_left >= 0 && allocations_left-- == 0) return nullptr;
  return std::malloc(size ? size : 1);
}
void* operator new(std::size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("a request that finds no memory while it is queued leaves no trace") {
  Demo demo({}, {.max_queue_per_client = 1});
  const auto request = [&] {
    GenerationRequest made = greedy(demo.chat("What is the capital of France?"), 4);
    made.client = "a client whose name is too long for a small string";
    made.stop = {"a string that stops the answer and is long"};
    return made;
  };
  int failed = 0;
  for (bool taken = false; !taken; ++failed) {
    REQUIRE(failed < 1000);
    GenerationRequest asked = request();
    std::promise<void> ended;
    EventSink sink = [&ended](GenerationEvent&& event) {
      if (event.finish != FinishReason::kNone) ended.set_value();
    };
    allocations_left = failed;
    try {
      demo.engine.submit(std::move(asked), std::move(sink));
      taken = true;
    } catch (const std::bad_alloc&) {
    }
    allocations_left = -1;
    if (taken) ended.get_future().wait();
    INFO("allocation " << failed);
    if (!taken) REQUIRE(demo.engine.load().requests == 0);  // one that stays would refuse the client's next
  }
  CHECK(failed > 5);
  CHECK(demo.engine.drain(std::chrono::seconds(60)));
  const EngineStats stats = demo.engine.stats();
  CHECK(stats.requests == 1);
  CHECK(stats.refused == 0);
}
