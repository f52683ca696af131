// What many streams are given together: whether it goes out at once or waits for what follows.
#include "api/http/mailbox.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

using namespace nacelle::http;
using namespace std::chrono_literals;

namespace {

MailClock::time_point now;

struct Stream : Outbox {
  void flush() override {
    ++flushes;
    queued = false;
  }
  bool may_wait() const override { return open; }
  bool open = true;
  bool queued = false;  // as a connection, it comes to the mailbox once
  int flushes = 0;
};

// Streams that all get something in each turn, as those of an engine's step, and what the mailbox does with it.
struct ManyStreams {
  ManyStreams() {
    now = MailClock::time_point(1h);
    for (std::size_t i = 0; i < Mailbox::kMany + 2; ++i) streams.push_back(std::make_shared<Stream>());
  }

  void turn(MailClock::duration passed, std::size_t count) {
    now += passed;
    for (std::size_t i = 0; i < count; ++i)
      mailbox.post([this, one = streams[i]] {
        if (!std::exchange(one->queued, true)) mailbox.flush_later(one);
      });
    mailbox.deliver();
  }
  void turn(MailClock::duration passed) { turn(passed, streams.size()); }
  // As the alarm does it when its time has come.
  void late(MailClock::duration passed) {
    now += passed;
    mailbox.flush_late();
  }
  // How often each of them was flushed; -1 where they differ.
  int flushes() const {
    for (const auto& one : streams)
      if (one->flushes != streams[0]->flushes) return -1;
    return streams[0]->flushes;
  }

  std::vector<MailClock::time_point> alarms;
  Mailbox mailbox{[] {}, {10ms, [this](MailClock::time_point when) { alarms.push_back(when); }, [] { return now; }}};
  std::vector<std::shared_ptr<Stream>> streams;
};

}  // namespace

TEST_CASE_METHOD(ManyStreams, "streams whose pieces come quickly get several at once, none later than allowed") {
  turn(4ms);
  CHECK(flushes() == 1);  // nothing is known yet of their pace
  turn(4ms);
  CHECK(flushes() == 1);
  turn(4ms);
  CHECK(flushes() == 1);
  turn(4ms);
  CHECK(flushes() == 2);  // the next turn, expected at 20 ms, would be too late for what came at 8
  CHECK(alarms == std::vector{MailClock::time_point(1h) + 18ms});
  turn(4ms);
  CHECK(flushes() == 2);
  CHECK(alarms.size() == 2);
}

TEST_CASE_METHOD(ManyStreams, "what waits goes out in time where the next turn does not come") {
  turn(1ms);
  turn(4ms);
  CHECK(flushes() == 1);
  late(9ms);  // an alarm that was set for others
  CHECK(flushes() == 1);
  CHECK(alarms == std::vector(2, MailClock::time_point(1h) + 15ms));
  late(1ms);
  CHECK(flushes() == 2);
  late(5ms);
  CHECK(flushes() == 2);
  CHECK(alarms.size() == 2);
  turn(30ms);
  CHECK(flushes() == 3);  // they are not fast any more
}

TEST_CASE_METHOD(ManyStreams, "steps that take long make nobody wait") {
  for (int i = 1; i < 5; ++i) {
    turn(11ms);
    CHECK(flushes() == i);
  }
  CHECK(alarms.empty());
}

TEST_CASE_METHOD(ManyStreams, "a stream that ends, and a slow one beside fast ones, get theirs at once") {
  const auto slow = std::make_shared<Stream>();
  turn(4ms);
  streams[0]->open = false;
  streams.push_back(slow);
  turn(4ms);
  CHECK(streams[0]->flushes == 2);
  CHECK(streams[1]->flushes == 1);
  CHECK(slow->flushes == 1);
  streams[1]->open = false;
  turn(1ms, 1);  // what waits is looked at, however few get something
  CHECK(streams[1]->flushes == 2);
  CHECK(streams[2]->flushes == 1);
}

TEST_CASE_METHOD(ManyStreams, "as many streams as that or fewer get each piece at once") {
  for (int i = 1; i < 5; ++i) {
    turn(1ms, Mailbox::kMany);
    CHECK(streams[0]->flushes == i);
  }
  CHECK(alarms.empty());
}
