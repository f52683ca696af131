// The meeting point of handler and connection: order, back-pressure, cancel.
#include "api/http/exchange.hpp"

#include <catch2/catch.hpp>

using namespace nacelle::http;

namespace {

ExchangePtr make_exchange(std::size_t max_unsent = 100) {
  Request request;
  request.method = "GET";
  request.path = "/";
  return std::make_shared<Exchange>(
      std::move(request), [](Exchange::Task task) { task(); }, max_unsent);
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
  CHECK(exchange->take() == "ab");
  exchange->write("c");
  exchange->finish();
  exchange->write("late");
  CHECK(exchange->take() == "c");
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
  CHECK(exchange->take().empty());
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
