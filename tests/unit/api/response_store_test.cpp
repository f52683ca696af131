// What is kept of responses and conversations, and that it stays within bounds.
#include "api/openai/response_store.hpp"

#include <catch2/catch.hpp>
#include <optional>

#include "api/openai/background_response.hpp"
#include "api/openai/conversation_store.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using fields::Json;
using test::failure_of;

namespace {

http::ExchangePtr make_exchange(std::size_t max_unsent = 1000) {
  http::Request request;
  request.client = "ann";
  return std::make_shared<http::Exchange>(
      std::move(request), [](http::Exchange::Task task, bool) { task(); }, max_unsent);
}

std::shared_ptr<openai::BackgroundResponse> make_background(
    std::shared_ptr<openai::EventLog> events = nullptr, openai::ResponseDone done = [](const auto&) {}) {
  auto shape = openai::make_responses_shape({"resp_1", "m", 0, Json::object(), true}, nullptr, std::move(done));
  return std::make_shared<openai::BackgroundResponse>("resp_1", "ann", nullptr, shape, std::move(events));
}

openai::StoredResponse of_size(std::size_t bytes) {
  return {std::string(bytes, 'x'), nullptr, nullptr, "ann", true, nullptr};
}

std::string event(std::size_t bytes, char text = 'x') { return std::string(bytes - 2, text) + "\n\n"; }

// What a reader gets who takes all there is, again and again.
std::string take(http::Exchange& exchange) {
  std::string text;
  while (!exchange.unsent().empty()) {
    text += exchange.unsent();
    exchange.drop_unsent();
    exchange.note_sent();
  }
  return text;
}

}  // namespace

TEST_CASE("responses are kept within bounds") {
  openai::ResponseStore store({.responses = 2, .bytes = 1000});
  const auto put = [&](const std::string& id, std::size_t bytes) { store.put(id, of_size(bytes)); };
  put("a", 10);
  put("b", 10);
  put("c", 10);
  CHECK_FALSE(store.find("a", "ann"));
  CHECK(store.find("b", "ann"));
  put("d", 900);  // no room for it beside b
  CHECK(store.find("d", "ann").kept->json.size() == 900);
  put("e", 200);
  CHECK_FALSE(store.find("d", "ann"));
  put("f", 2000);  // never
  CHECK_FALSE(store.find("f", "ann"));
  CHECK(store.find("e", "ann"));
  store.put("g", {"json", Json::array({std::string(1000, 'x')}), nullptr, "ann", false, nullptr});
  CHECK(store.find("g", "ann").kept->messages.is_null());  // too large beside the response
  for (const char* other : {"", "bob"}) {
    CHECK_FALSE(store.find("e", other));
    CHECK_FALSE(store.erase("e", other));
  }
  CHECK(store.erase("e", "ann"));
  CHECK_FALSE(store.erase("e", "ann"));
}

TEST_CASE("items of kept responses are found, their owner's alone, as long as the response is") {
  openai::ResponseStore store({.responses = 2, .bytes = 1000});
  const auto put = [&](const std::string& id, std::size_t bytes = 1) {
    openai::StoredResponse response = of_size(10);
    response.output = {{id + "1", "{}"}, {id + "2", std::string(bytes, 'y')}};
    store.put(id, std::move(response));
  };
  put("a", 5);
  CHECK(store.find_item("a2", "ann") == "yyyyy");
  CHECK(store.find_item("a1", "ann") == "{}");
  CHECK(store.find_item("a1", "bob").empty());
  CHECK(store.find_item("a3", "ann").empty());
  put("b");
  put("c");
  CHECK(store.find_item("a1", "ann").empty());
  CHECK(store.erase("b", "ann"));
  CHECK(store.find_item("b1", "ann").empty());
  put("d", 900);  // counted: no room for it beside c
  CHECK(store.find_item("c1", "ann").empty() == !store.find("c", "ann"));
  put("e", 990);
  CHECK(store.find("e", "ann"));
  CHECK(store.find_item("e1", "ann").empty());  // too large beside the response
}

TEST_CASE("a response that runs is never given up, and no more run than may") {
  openai::ResponseStore store({.responses = 2, .bytes = 1000, .running = 2});
  store.begin("run", make_background(), 100);
  for (const char* id : {"a", "b", "c"}) store.put(id, of_size(10));
  CHECK(store.find("run", "ann").running);
  CHECK_FALSE(store.find("run", "bob"));
  CHECK(failure_of([&] { store.begin("large", make_background(), 901); }).status == 429);
  store.begin("two", make_background(), 100);
  CHECK(failure_of([&] { store.begin("three", make_background(), 0); }).code == "too_many_background_responses");
  store.finish("run", of_size(20));
  CHECK(store.find("run", "ann").kept->json.size() == 20);
  CHECK_FALSE(store.find("b", "ann"));
  CHECK(store.erase("two", "ann"));
  store.finish("two", of_size(20));  // forgotten meanwhile
  CHECK_FALSE(store.find("two", "ann"));
  store.begin("three", make_background(), 901);
}

TEST_CASE("a log streams from any event on, to readers who come, go and lag") {
  const auto log = std::make_shared<openai::EventLog>(std::make_shared<openai::EventRoom>());
  const std::string first = event(40'000, 'a'), second = event(40'000, 'b'), third = event(40'000, 'c');
  const auto reader = make_exchange(150'000), gone = make_exchange();
  log->attach(gone, 0);
  gone->cancel();
  log->append(first + second);
  log->append(third);
  CHECK(log->count() == 3);
  log->attach(reader, 0);
  CHECK(reader->unsent().size() == 80'000);  // no more than a little ahead
  const auto late = make_exchange(150'000);
  log->attach(late, 3);
  CHECK(take(*reader) == first + second + third);
  CHECK_FALSE(reader->finished());
  log->append(event(10, 'd'));
  log->end();
  CHECK(take(*reader) == event(10, 'd'));
  CHECK(take(*late) == event(10, 'd'));
  CHECK(reader->finished());
  CHECK(late->finished());
  const auto after = make_exchange(150'000);
  log->attach(after, 2);
  CHECK(take(*after) == third + event(10, 'd'));
  CHECK(after->finished());
}

TEST_CASE("logs share a room; one that has none left is given up, and only those who lag are cut") {
  const auto room = std::make_shared<openai::EventRoom>(8000);
  {
    const auto log = std::make_shared<openai::EventLog>(room);
    const auto lags = make_exchange(1'000'000), follows = make_exchange();
    log->attach(follows, 0);
    log->append(event(500));
    CHECK(take(*follows) == event(500));
    CHECK(room->used() > 500);
    log->append(event(600));  // beyond an eighth
    CHECK(log->given_up());
    CHECK(room->used() == 0);
    CHECK(take(*follows) == event(600));
    log->append(event(20));
    log->end();
    CHECK(take(*follows) == event(20));
    CHECK(follows->finished());
  }
  std::vector<std::shared_ptr<openai::EventLog>> logs;
  for (int i = 0; i < 9; ++i) {
    logs.push_back(std::make_shared<openai::EventLog>(room));
    logs.back()->append(event(900));
  }
  CHECK_FALSE(logs[7]->given_up());
  CHECK(logs[8]->given_up());
  logs.clear();
  CHECK(room->used() == 0);

  const auto log = std::make_shared<openai::EventLog>(std::make_shared<openai::EventRoom>(8u * 200'000));
  for (int i = 0; i < 4; ++i) log->append(event(40'000));
  const auto lags = make_exchange(1'000'000);
  log->attach(lags, 0);
  log->append(event(60'000));
  CHECK(log->given_up());
  CHECK(lags->cancelled());
}

TEST_CASE("the oldest responses' logs make room for a new one") {
  openai::ResponseStore store({.event_bytes = 8000});
  for (const char* id : {"a", "b", "c", "d", "e", "f"}) {
    auto response = of_size(1);
    response.events = store.make_log();
    response.events->append(event(900));
    store.put(id, std::move(response));
  }
  (void)store.make_log();
  CHECK_FALSE(store.find("b", "ann").events);
  CHECK(store.find("c", "ann").events);
  CHECK(store.find("a", "ann").kept->json == "x");
}

TEST_CASE("a background response is told from what its generation sends, and a cancel ends it") {
  const auto log = std::make_shared<openai::EventLog>(std::make_shared<openai::EventRoom>());
  int ended = 0, cancels = 0;
  const auto response = make_background(log, [&](const openai::EndedResponse& over) {
    ++ended;
    CHECK(over.json["status"] == "cancelled");
  });
  const auto apart = make_exchange();
  response->follow(apart);
  apart->on_cancel([&] { ++cancels; });
  apart->start_stream("text/event-stream");
  apart->write(event(10));
  CHECK(log->count() == 1);
  CHECK(apart->unsent().empty());
  const auto reader = make_exchange();
  log->attach(reader, 0);
  response->cancel();
  response->cancel();
  CHECK(ended == 1);
  CHECK(cancels == 1);
  CHECK(take(*reader) == event(10));
  CHECK(reader->finished());
}

TEST_CASE("conversations are kept within bounds, the one not used for long given up first") {
  openai::ConversationStore store(2, 8 * 1000);
  const auto item = [](const std::string& text) {
    return Json::array({Json{{"id", ""}, {"type", "message"}, {"text", text}}});
  };
  const std::string a = store.create("ann", {{"k", "v"}}, item("a")).id,
                    b = store.create("ann", Json::object(), item("b")).id;
  CHECK(a.starts_with("conv_"));
  CHECK(store.find(a, "ann")->items.size() == 1);
  CHECK_FALSE(store.find(a, "bob"));
  CHECK_FALSE(store.erase(a, "bob"));
  CHECK_FALSE(store.append(a, "bob", item("x")));
  CHECK_FALSE(store.set_metadata(a, "bob", Json::object()));
  const std::string c = store.create("ann", Json::object(), Json::array()).id;
  CHECK_FALSE(store.find(b, "ann"));  // a was used since
  const auto added = store.append(a, "ann", item("two"));
  REQUIRE(added->size() == 1);
  CHECK(store.find(a, "ann")->items.size() == 2);
  CHECK(store.erase_item(a, "ann", (*added->front())["id"]));
  CHECK_FALSE(store.erase_item(a, "ann", "msg_none"));
  store.check_room(*store.find(a, "ann"));
  store.append(a, "ann", item(std::string(1000, 'x')));
  CHECK(failure_of([&] { store.check_room(*store.find(a, "ann")); }).code == "conversation_full");
  store.append(a, "ann", item(std::string(1000, 'x')));
  CHECK_FALSE(store.find(c, "ann"));  // both did not fit
  CHECK(store.erase(a, "ann"));
  CHECK_FALSE(store.find(a, "ann"));
}
