#include "api/openai/response_events.hpp"

#include <algorithm>

namespace nacelle::openai {
namespace {

constexpr std::size_t kAhead = 64u << 10;  // bytes that wait in a reader's exchange before it gets more
constexpr std::size_t kAnEvent = 64;       // bytes that keeping one takes beside its text
constexpr std::string_view kEnd = "\n\n";  // of an event, whose JSON has no line ends

}  // namespace

void EventLog::append(std::string_view events) {
  while (!events.empty()) {
    const std::size_t end = std::min(events.find(kEnd), events.size() - kEnd.size()) + kEnd.size();
    add(events.substr(0, end));
    events.remove_prefix(end);
  }
  pump();
}

void EventLog::add(std::string_view event) {
  ++count_;
  const std::size_t bytes = event.size() + kAnEvent;
  if (!given_up_ && (bytes_ + bytes > room_->max_bytes() / 8 || !room_->take(bytes))) give_up();
  if (!given_up_) {
    bytes_ += bytes;
    events_.emplace_back(event);
    return;
  }
  for (Reader& reader : readers_) reader.exchange->write(event);
}

void EventLog::give_up() {
  pump();
  for (Reader& reader : readers_) {
    if (reader.next < events_.size()) reader.exchange->cancel();
  }
  given_up_ = true;
  events_.clear();
  room_->give_back(std::exchange(bytes_, 0));
}

void EventLog::end() {
  ended_ = true;
  pump();
}

void EventLog::attach(const http::ExchangePtr& exchange, std::size_t next) {
  exchange->start_stream("text/event-stream; charset=utf-8");
  exchange->on_sent([self = shared_from_this()] { self->pump(); });
  exchange->on_idle([reader = exchange.get()] { reader->write(http::kKeepAlive); });
  readers_.push_back({exchange, next});
  pump();
}

void EventLog::pump() {
  for (Reader& reader : readers_) pump(reader);
  std::erase_if(readers_,
                [](const Reader& reader) { return reader.exchange->finished() || reader.exchange->cancelled(); });
}

void EventLog::pump(Reader& reader) {
  http::Exchange& exchange = *reader.exchange;
  while (!given_up_ && reader.next < events_.size() && exchange.unsent().size() < kAhead && !exchange.cancelled()) {
    exchange.write(events_[reader.next++]);
  }
  if (ended_ && (given_up_ || reader.next == events_.size())) exchange.finish();
}

}  // namespace nacelle::openai
