// The engine where memory ends: every allocation of submit() fails once, and so do those of the engine's own thread. A
// program of its own, for the sake of its operator new.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <future>
#include <new>
#include <thread>

#include "tests/golden/demo.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

// Of this thread: how many are left until some fail, and how many then do.
thread_local int allocations_left = 0, allocations_failing = 0;
std::atomic<int> allocations_failed = 0;  // of all threads

}  // namespace

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (allocations_failing > 0 && allocations_left-- <= 0) {
    --allocations_failing;
    ++allocations_failed;
    return nullptr;
  }
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
    allocations_failing = 1;
    try {
      demo.engine.submit(std::move(asked), std::move(sink));
      taken = true;
    } catch (const std::bad_alloc&) {
    }
    allocations_failing = 0;
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

namespace {

// What a request is told. Its sink allocates nothing.
struct Told {
  std::atomic<int> events = 0, ends = 0;
  EventSink sink() {
    return [this](GenerationEvent&& event) {
      ++events;
      if (event.finish != FinishReason::kNone) ++ends;
    };
  }
};

void wait_until_idle(Engine& engine) {
  while (engine.load().requests != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// One request runs; while it is told of its first token others come, one of them with a time limit that it misses, and
// one that is cancelled. From then on the engine's thread finds memory for `left` allocations, but not for the
// `failing` after them. True where it came to that.
bool run_short_of_memory(Demo& demo, int left, int failing) {
  INFO("allocations " << left << " to " << left + failing - 1);
  const int failed_before = allocations_failed;
  Told told[4];
  std::promise<void> begun, others_came;
  const auto request = [&](const char* client, int milliseconds = 0) {
    GenerationRequest made = greedy(demo.chat("What is the capital of France?"), 3);
    made.client = client;
    made.timeout = std::chrono::milliseconds(milliseconds);
    return made;
  };
  demo.engine.submit(request("one whose name is too long for a small string"), [&](GenerationEvent&& event) {
    if (told[0].events++ == 0) {
      begun.set_value();
      others_came.get_future().wait();
      allocations_left = left;
      allocations_failing = failing;
    }
    if (event.finish != FinishReason::kNone) ++told[0].ends;
  });
  begun.get_future().wait();
  demo.engine.submit(request("another whose name is too long for a small string"), told[1].sink());
  demo.engine.submit(request("another whose name is too long for a small string", 1), told[2].sink());
  demo.engine.cancel(demo.engine.submit(request("a third whose name is no shorter"), told[3].sink()));
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  others_came.set_value();
  wait_until_idle(demo.engine);
  for (const Told& one : told) CHECK(one.ends == 1);
  const EngineStats stats = demo.engine.stats();
  CHECK(stats.blocks_free == stats.blocks_total);
  return allocations_failed != failed_before;
}

// On the engine's thread. Where an allocation fails that is still to come, it is this request's.
void end_shortage(Demo& demo) {
  demo.engine.submit(greedy(demo.chat("What?"), 1), [](GenerationEvent&&) { allocations_failing = 0; });
  wait_until_idle(demo.engine);
}

}  // namespace

TEST_CASE("an engine whose thread finds no memory tells every request its end and goes on") {
  Demo demo;
  for (const int failing : {1, 8}) {
    int left = 0;
    while (run_short_of_memory(demo, left, failing)) REQUIRE(++left < 2000);
    CHECK(left > 10);
    end_shortage(demo);
  }
  Told told;
  demo.engine.submit(greedy(demo.chat("What is the capital of France?"), 4), told.sink());
  wait_until_idle(demo.engine);
  CHECK(told.events == 4);
  CHECK(demo.engine.can_serve());
}
