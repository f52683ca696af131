// Shares among clients, priorities, and the wait that a refused caller is told.
#include <catch2/catch.hpp>

#include "core/engine/scheduler.hpp"
#include "core/engine/service_rate.hpp"
#include "core/engine/step_pace.hpp"

using namespace nacelle;
using namespace std::chrono_literals;

namespace {

struct Crowd {
  explicit Crowd(SchedulerLimits limits, std::uint32_t count = 100) : scheduler(limits, blocks) {
    blocks.block_tokens = 4;
    blocks.windows = {0};
    blocks.pools.emplace_back(count);
  }
  void add(RequestId id, const std::string& client, std::size_t prompt, std::int32_t priority = 0) {
    GenerationRequest request;
    request.prompt.assign(prompt, static_cast<TokenId>(id));
    request.client = client;
    request.priority = priority;
    const auto limit = static_cast<std::uint32_t>(prompt) + 1;
    scheduler.add(std::make_unique<Sequence>(
        id, request, [](GenerationEvent&&) {}, blocks, nullptr, 0, limit));
  }
  // The ids in the order in which they end.
  std::vector<RequestId> run() {
    std::vector<RequestId> ended;
    while (scheduler.running() + scheduler.waiting() > 0) {
      std::vector<RequestId> now;
      for (const Chunk& chunk : scheduler.plan()) {
        chunk.sequence->computed += chunk.count;
        if (chunk.sequence->pending() == 0) now.push_back(chunk.sequence->id);
      }
      for (const RequestId id : now) scheduler.remove(id);
      ended.insert(ended.end(), now.begin(), now.end());
    }
    return ended;
  }
  KvBlocks blocks;
  Scheduler scheduler;
};

}  // namespace

TEST_CASE("a client with one request does not wait behind another's many") {
  Crowd crowd({8, 8});
  for (RequestId id = 1; id <= 5; ++id) crowd.add(id, "many", 8);
  crowd.add(6, "one", 8);
  CHECK(crowd.run() == std::vector<RequestId>{1, 6, 2, 3, 4, 5});
}

TEST_CASE("beside sequences that decode a prompt is read in pieces that take no longer than a reader's patience") {
  StepPace pace;
  CHECK(pace.prompt_rows() > 1'000'000);  // nothing was measured yet
  pace.note(512, false, 0.512);           // a millisecond a row
  CHECK(pace.prompt_rows() == 50);
  for (int i = 0; i < 100; ++i) pace.note(0, true, 0.08);
  CHECK(pace.prompt_rows() == 80);  // as long as a step takes anyway
  for (int i = 0; i < 100; ++i) pace.note(100, true, 0.08 + 1.0);
  CHECK(pace.prompt_rows() == StepPace::kLeastRows);
  for (int i = 0; i < 100; ++i) pace.note(100, true, 0.08 - 0.01);  // faster than without: noise
  CHECK(pace.prompt_rows() > 1'000'000);

  Crowd crowd({8, 64});
  crowd.scheduler.limit_prompt_rows(5);
  crowd.add(1, "a", 20);
  CHECK(crowd.scheduler.plan()[0].count == 20);  // nobody decodes
  Sequence& first = *crowd.scheduler.plan()[0].sequence;
  first.computed = 19;
  crowd.add(2, "a", 30);
  const std::vector<Chunk>& chunks = crowd.scheduler.plan();
  REQUIRE(chunks.size() == 2);
  CHECK((chunks[0].sequence == &first && chunks[0].count == 1));
  CHECK(chunks[1].count == 5);
}

TEST_CASE("a short prompt of another client overtakes a long one that is being read") {
  Crowd crowd({8, 8});
  crowd.add(1, "long", 80);
  crowd.scheduler.plan()[0].sequence->computed += 8;
  crowd.add(2, "short", 6);
  CHECK(crowd.run() == std::vector<RequestId>{2, 1});
}

TEST_CASE("a lower number goes first, and takes slots and blocks from higher ones") {
  Crowd slots({1, 8});
  slots.add(1, "a", 20, 5);
  slots.scheduler.plan()[0].sequence->computed += 8;
  slots.add(2, "a", 20, 5);
  slots.add(3, "a", 4, -1);
  CHECK(slots.run() == std::vector<RequestId>{3, 1, 2});
  CHECK(slots.scheduler.preemptions() == 1);
  Crowd blocks({8, 8}, 6);
  blocks.add(1, "a", 20, 5);
  blocks.scheduler.plan()[0].sequence->computed += 8;
  blocks.add(2, "a", 20, 0);
  CHECK(blocks.run() == std::vector<RequestId>{2, 1});
}

TEST_CASE("service is counted from the level of those who are there") {
  FairShare shares;
  shares.enter("a").service = 100;
  FairShare::Account& b = shares.enter("b");
  CHECK(b.service == 100);
  b.service = 500;
  shares.leave("b");
  CHECK(shares.enter("b").service == 500);  // it was ahead, and going away does not help
  shares.leave("b");
  shares.enter("a").service = 600;
  CHECK(shares.enter("b").service == 600);
  shares.leave("b");
  CHECK(shares.accounts() == 1);
  shares.leave("a");
  shares.leave("a");
  CHECK(shares.accounts() == 0);
}

TEST_CASE("the wait follows from the pace of the latest ends") {
  ServiceRate rate;
  const auto start = ServiceRate::Time{} + 1h;
  rate.begin(start);
  CHECK(rate.wait(30, 10, start + 1s) == 3s);  // ten run, and may end now: ten a second
  for (int i = 1; i <= 4; ++i) rate.note_end(start + i * 1s);
  CHECK(rate.wait(30, 10, start + 4s) == 30s);
  CHECK(rate.wait(30, 10, start + 8s) == 60s);  // nothing ended since
  for (int i = 0; i < 200; ++i) rate.note_end(start + 60s + i * 10ms);
  CHECK(rate.wait(300, 10, start + 60s + 2s) <= 4s);
  CHECK(rate.wait(1'000'000, 10, start + 62s) == 600s);
  CHECK(rate.wait(0, 10, start + 62s) == 1s);
}
