// The slow lane: one task at a time, clients in turns, bounded.
#include "api/http/slow_lane.hpp"

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <string>
#include <thread>

using namespace nacelle::http;

TEST_CASE("the slow lane takes clients in turns, and no more than it has room for") {
  std::promise<void> begun, go;
  std::string order;
  {
    SlowLane lane;
    REQUIRE(lane.offer("a", [&] {
      CHECK(Pacing::now() == Pace::kSlow);
      begun.set_value();
      go.get_future().wait();
    }));
    begun.get_future().wait();
    for (std::size_t i = 0; i < SlowLane::kMostOfClient; ++i) REQUIRE(lane.offer("a", [&] { order += 'a'; }));
    CHECK_FALSE(lane.offer("a", [&] { order += '!'; }));
    REQUIRE(lane.offer("b", [&] { order += 'b'; }));
    REQUIRE(lane.offer("b", [&] { order += 'b'; }));
    // Those without a name are no client: they share all the room there is.
    for (std::size_t i = SlowLane::kMostOfClient + 2; i < SlowLane::kMost; ++i)
      REQUIRE(lane.offer("", [&] { order += '-'; }));
    CHECK_FALSE(lane.offer("c", [&] { order += '!'; }));
    go.set_value();
    std::promise<void> over;
    while (!lane.offer("last", [&] { over.set_value(); })) std::this_thread::yield();
    over.get_future().wait();
  }
  CHECK(order.starts_with("ba"));
  CHECK(order.find("aa") == std::string::npos);
  CHECK(order.find('!') == std::string::npos);
}

TEST_CASE("a slow lane that ends drops what waits") {
  std::promise<void> begun, go;
  bool ran = false;
  auto lane = std::make_unique<SlowLane>();
  lane->offer("", [&] { begun.set_value(), go.get_future().wait(); });
  lane->offer("", [&] { ran = true; });
  begun.get_future().wait();
  auto end = std::async(std::launch::async, [&] { lane.reset(); });
  CHECK(end.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout);
  go.set_value();
  end.wait();
  CHECK_FALSE(ran);
}

TEST_CASE("a pace is the thread's, and goes back to what it was") {
  CHECK(Pacing::now() == Pace::kSlow);
  const Pacing outer(Pace::kQuick);
  {
    const Pacing inner(Pace::kRefused);
    CHECK(Pacing::now() == Pace::kRefused);
    std::thread([] { CHECK(Pacing::now() == Pace::kSlow); }).join();
  }
  CHECK(Pacing::now() == Pace::kQuick);
}
