// The events of a background response, kept so that a client may drop its stream and come back for the rest.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/http/exchange.hpp"

namespace nacelle::openai {

// The room that all logs share. All functions may be called from any thread; none waits.
class EventRoom {
 public:
  static constexpr std::size_t kMaxBytes = 64u << 20;

  // One log gets an eighth at most.
  explicit EventRoom(std::size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  bool take(std::size_t bytes) noexcept {
    if (used_.fetch_add(bytes) + bytes <= max_bytes_) return true;
    give_back(bytes);
    return false;
  }
  void give_back(std::size_t bytes) noexcept { used_ -= bytes; }
  std::size_t used() const noexcept { return used_; }
  std::size_t max_bytes() const noexcept { return max_bytes_; }

 private:
  const std::size_t max_bytes_;
  std::atomic<std::size_t> used_ = 0;
};

// Belongs to what is posted to exchanges and to the I/O thread, as they do; may be destroyed on any thread.
class EventLog : public std::enable_shared_from_this<EventLog> {
 public:
  explicit EventLog(std::shared_ptr<EventRoom> room) : room_(std::move(room)) {}
  ~EventLog() { room_->give_back(bytes_); }
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Whole server-sent events, the first of the next sequence number (they count from 0). Where there is no room for
  // them the log is given up: readers that are up to date go on, others are cut, and nobody can come back.
  void append(std::string_view events);
  // Nothing follows: streams end behind the last event.
  void end();

  bool given_up() const noexcept { return given_up_; }
  std::size_t count() const noexcept { return count_; }
  // Streams the events from number `next` on, those to come too. Not of a log that was given up. A slow reader lags
  // behind in the log, not in memory of its own.
  void attach(const http::ExchangePtr& exchange, std::size_t next);

 private:
  struct Reader {
    http::ExchangePtr exchange;
    std::size_t next;
  };
  void add(std::string_view event);
  void give_up();
  void pump();
  void pump(Reader& reader);

  const std::shared_ptr<EventRoom> room_;
  std::deque<std::string> events_;
  std::vector<Reader> readers_;
  std::size_t bytes_ = 0, count_ = 0;
  bool ended_ = false, given_up_ = false;
};

}  // namespace nacelle::openai
