// One request and its answer on their way: the meeting point of a handler, which produces, and a connection, which
// sends.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/http/message.hpp"

namespace nacelle::http {

// What a stream of server-sent events says where it has nothing to say (Exchange::on_idle()): a comment, which clients
// skip.
inline constexpr std::string_view kKeepAlive = ": keep-alive\n\n";

// Everything but post(), post_short(), request() and cancelled() belongs to the tasks that are posted and to the
// server's I/O thread, which works under the same lock (Mailbox::work()): code on other threads (the engine's, a
// worker's) hands its work over.
class Exchange {
 public:
  using Task = std::function<void()>;
  using Executor = std::function<void(Task, bool short_)>;

  // `executor` runs a task as Mailbox::post() does. A stream whose reader lags by more than `max_unsent` bytes is
  // cancelled.
  Exchange(Request request, Executor executor, std::size_t max_unsent);

  // One that no connection sends: for work that goes on when its client has gone. The same request but for the body,
  // the same executor. Whoever made it takes the output, on_output(), and may cancel().
  std::shared_ptr<Exchange> apart() const;

  // [any thread]
  const Request& request() const noexcept { return request_; }
  void post(Task task) { executor_(std::move(task), false); }
  // What a Mailbox may run on an engine's thread: a piece of an answer that goes on.
  void post_short(Task task) { executor_(std::move(task), true); }

  // ---- The handler's side. Calls after the end, or after a cancel, do nothing. ----
  void respond(Response response);
  void start_stream(std::string content_type);
  void write(std::string_view text);
  void finish();
  // `callback` runs once, when the client has gone or reads too slowly: at once where that has happened already.
  void on_cancel(Task callback);
  bool cancelled() const noexcept { return cancelled_; }  // [any thread]
  // `callback` runs whenever all that was written so far is sent: time for more, where the handler has more than a
  // reader may lag behind.
  void on_sent(Task callback);
  // `callback` runs whenever the client has got nothing for about as long as ServerOptions::keep_alive lets that be,
  // and nothing waits to be sent: time to write a word that keeps proxies patient, behind start_stream() where that is
  // still to come.
  void on_idle(Task callback);
  // For the log's line of this request; the last call counts.
  void set_tokens(TokenCounts tokens) noexcept { tokens_ = tokens; }
  TokenCounts tokens() const noexcept { return tokens_; }

  // ---- The connection's side. ----
  // `callback` runs whenever there is something new to send, and on a cancel.
  void on_output(Task callback) { output_ = std::move(callback); }
  void cancel();
  // nullptr until the handler has answered or begun to stream.
  const Response* head() const noexcept { return answered_ ? &head_ : nullptr; }
  bool streaming() const noexcept { return streaming_; }
  bool finished() const noexcept { return finished_; }
  std::string_view unsent() const noexcept { return unsent_; }
  void note_sent();
  void note_idle();
  // It is on its way.
  void drop_unsent() noexcept { unsent_.clear(); }

 private:
  void notify();

  const Request request_;
  const Executor executor_;
  const std::size_t max_unsent_;
  Task output_, cancel_, sent_, idle_;
  Response head_;
  std::string unsent_;
  TokenCounts tokens_;
  bool answered_ = false, streaming_ = false, finished_ = false;
  std::atomic<bool> cancelled_{false};
};

using ExchangePtr = std::shared_ptr<Exchange>;

}  // namespace nacelle::http
