// The meeting point of handler and connection: order, back-pressure, cancel; and whose thread its work is done on.
#include "api/http/exchange.hpp"

#include <catch2/catch.hpp>
#include <mutex>
#include <thread>

#include "api/http/mailbox.hpp"
#include "core/base/turn.hpp"

using namespace nacelle::http;

namespace {

ExchangePtr make_exchange(std::size_t max_unsent = 100) {
  Request request;
  request.method = "GET";
  request.path = "/";
  return std::make_shared<Exchange>(
      std::move(request), [](Exchange::Task task, bool) { task(); }, max_unsent);
}

}  // namespace

TEST_CASE("an answer is given once") {
  const auto exchange = make_exchange();
  int woken = 0;
  exchange->on_output([&] { ++woken; });
  CHECK(exchange->head() == nullptr);
  exchange->respond({404, "a", "text/plain", {}});
  exchange->respond({200, "b", "text/plain", {}});
  exchange->start_stream("text/plain");
  CHECK(exchange->head()->status == 404);
  CHECK(exchange->finished());
  CHECK_FALSE(exchange->streaming());
  CHECK(woken == 1);
}

TEST_CASE("a stream is taken in order") {
  const auto exchange = make_exchange();
  exchange->start_stream("text/plain");
  exchange->write("a");
  exchange->write("b");
  CHECK(exchange->unsent() == "ab");
  exchange->drop_unsent();
  exchange->write("c");
  exchange->finish();
  exchange->write("late");
  CHECK(exchange->unsent() == "c");
  CHECK(exchange->finished());
}

TEST_CASE("a reader that lags behind the bound cancels the request") {
  const auto exchange = make_exchange(10);
  int cancels = 0;
  exchange->on_cancel([&] { ++cancels; });
  exchange->start_stream("text/plain");
  exchange->write("0123456789");
  CHECK(cancels == 0);
  exchange->write("x");
  exchange->write("y");
  CHECK(cancels == 1);
  CHECK(exchange->cancelled());
  CHECK(exchange->unsent().empty());
}

TEST_CASE("a cancel that came first is told at once, and none after the end") {
  const auto exchange = make_exchange();
  exchange->cancel();
  int cancels = 0;
  exchange->on_cancel([&] { ++cancels; });
  CHECK(cancels == 1);

  const auto finished = make_exchange();
  auto owner = std::make_shared<int>(0);
  finished->on_cancel([&, owner] { ++cancels; });
  finished->respond({});
  CHECK(owner.use_count() == 1);  // the callback is gone, and what it owned
  finished->cancel();
  CHECK(cancels == 1);
}

TEST_CASE("what the tasks of one delivery put together is flushed once, behind them") {
  struct Box final : Outbox {
    explicit Box(std::string& to) : done(to) {}
    void flush() override { done += '!'; }
    std::string& done;
  };
  std::string done;
  Mailbox mailbox([] {});
  const auto box = std::make_shared<Box>(done);
  mailbox.post([&] {
    done += 'a';
    mailbox.flush_later(box);
  });
  mailbox.post([&] { done += 'b'; });
  mailbox.deliver();
  CHECK(done == "ab!");
  mailbox.deliver();
  CHECK(done == "ab!");
  mailbox.flush_later(box);  // no task runs
  CHECK(done == "ab!!");
  CHECK(box.use_count() == 1);
}

TEST_CASE("a producer is told when its output is sent, until it ends") {
  const auto exchange = make_exchange();
  int sent = 0;
  exchange->start_stream("text/plain");
  exchange->on_sent([&] {
    if (++sent == 2) exchange->finish();
  });
  exchange->note_sent();
  exchange->note_sent();
  exchange->note_sent();
  CHECK(sent == 2);
}

TEST_CASE("a producer may speak up where its client has got nothing for long, until it ends") {
  const auto exchange = make_exchange();
  auto owner = std::make_shared<int>(0);
  exchange->note_idle();  // nobody has a word to give
  exchange->on_idle([raw = exchange.get(), owner] {
    raw->start_stream("text/event-stream");
    raw->write(kKeepAlive);
  });
  CHECK(exchange->head() == nullptr);
  exchange->note_idle();
  CHECK(exchange->streaming());
  CHECK(exchange->unsent() == ": keep-alive\n\n");
  exchange->note_idle();
  exchange->respond({404, "", "text/plain", {}});  // too late for a status
  CHECK(exchange->head()->status == 200);
  SECTION("at its end") { exchange->finish(); }
  SECTION("at a cancel") { exchange->cancel(); }
  CHECK(owner.use_count() == 1);
  exchange->drop_unsent();
  exchange->note_idle();
  CHECK(exchange->unsent().empty());
}

TEST_CASE("an exchange apart from the connection's outlives its cancel") {
  Request request;
  request.client = "ann";
  request.body = "large";
  const auto exchange = std::make_shared<Exchange>(
      std::move(request), [](Exchange::Task task, bool) { task(); }, 100);
  const auto apart = exchange->apart();
  CHECK(apart->request().client == "ann");
  CHECK(apart->request().body.empty());
  exchange->cancel();
  apart->start_stream("text/plain");
  apart->write("a");
  CHECK(apart->unsent() == "a");
}

TEST_CASE("few short tasks run where a turn ends, all others on the thread that is woken, and all in order") {
  int woken = 0;
  std::string done;
  Mailbox mailbox([&] { ++woken; });
  const auto add = [&](char c, bool is_short) { mailbox.post([&done, c] { done += c; }, is_short); };

  SECTION("at the end of a turn") {
    {
      const nacelle::Turn turn;
      add('a', true);
      add('b', true);
      CHECK(done.empty());
    }
    CHECK(done == "ab");
    CHECK(woken == 0);
  }
  SECTION("without a turn") {
    add('a', true);
    CHECK(done.empty());
    CHECK(woken == 1);
    {
      const nacelle::Turn turn;
      add('b', true);  // not past what waits
    }
    CHECK(done.empty());
    mailbox.deliver();
    CHECK(done == "ab");
    CHECK(woken == 1);
  }
  SECTION("where one is not short") {
    {
      const nacelle::Turn turn;
      add('a', false);
      add('b', true);
    }
    CHECK(done.empty());
    CHECK(woken == 1);
    mailbox.deliver();
    CHECK(done == "ab");
  }
  SECTION("where there are many") {
    {
      const nacelle::Turn turn;
      for (std::size_t i = 0; i <= Mailbox::kFew; ++i) add('a', true);
    }
    CHECK(done.empty());
    CHECK(woken == 1);
  }
  SECTION("where another thread is at work") {
    std::unique_lock work(mailbox.work());
    std::thread([&] {
      const nacelle::Turn turn;
      add('a', true);
    }).join();
    CHECK(done.empty());
    CHECK(woken == 1);
    work.unlock();
    mailbox.deliver();
    CHECK(done == "a");
  }
}
