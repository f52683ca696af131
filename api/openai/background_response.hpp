// A response whose generation goes on without the client that asked for it.
#pragma once

#include <memory>
#include <string>

#include "api/http/exchange.hpp"
#include "api/openai/response_events.hpp"
#include "api/openai/responses_shape.hpp"

namespace nacelle::openai {

// The generation streams into an exchange that no connection sends (Exchange::apart()); this takes its output. But for
// owner(), items() and events(), which any thread may call, it belongs to what is posted to exchanges and to the I/O
// thread.
class BackgroundResponse : public std::enable_shared_from_this<BackgroundResponse> {
 public:
  // `events`: null where nobody asked for a stream.
  BackgroundResponse(std::string id, std::string owner, std::shared_ptr<const Json> items,
                     std::shared_ptr<ResponsesShape> shape, std::shared_ptr<EventLog> events)
      : id_(std::move(id)),
        owner_(std::move(owner)),
        items_(std::move(items)),
        shape_(std::move(shape)),
        events_(std::move(events)) {}

  const std::string& owner() const noexcept { return owner_; }
  const std::shared_ptr<const Json>& items() const noexcept { return items_; }  // of its input
  const std::shared_ptr<EventLog>& events() const noexcept { return events_; }

  // Takes what comes over `exchange` [any thread; before the generation starts].
  void follow(const http::ExchangePtr& exchange);
  // The response's JSON, as it is now.
  std::string snapshot() const { return shape_->snapshot(); }
  // The generation leaves the engine within a step. Nothing where it is over.
  void cancel();

 private:
  void take();
  void log_end(const http::Exchange& exchange) const;

  const std::string id_, owner_;
  const std::shared_ptr<const Json> items_;
  const std::shared_ptr<ResponsesShape> shape_;
  const std::shared_ptr<EventLog> events_;
  http::ExchangePtr exchange_;  // null: it is over
};

}  // namespace nacelle::openai
