#include "api/http/exchange.hpp"

#include <utility>

namespace nacelle::http {

Exchange::Exchange(Request request, Executor executor, std::size_t max_unsent)
    : request_(std::move(request)), executor_(std::move(executor)), max_unsent_(max_unsent) {}

std::shared_ptr<Exchange> Exchange::apart() const {
  Request copy = request_;
  copy.body.clear();
  return std::make_shared<Exchange>(std::move(copy), executor_, max_unsent_);
}

void Exchange::respond(Response response) {
  if (answered_ || cancelled_) return;
  head_ = std::move(response);
  answered_ = finished_ = true;
  cancel_ = idle_ = nullptr;  // they usually own the handler's state, which owns this object
  notify();
}

void Exchange::start_stream(std::string content_type) {
  if (answered_ || cancelled_) return;
  head_.content_type = std::move(content_type);
  head_.headers.emplace_back("Cache-Control", "no-cache");
  answered_ = streaming_ = true;
  notify();
}

void Exchange::write(std::string_view text) {
  if (!streaming_ || finished_ || cancelled_) return;
  if (unsent_.size() + text.size() > max_unsent_) return cancel();
  unsent_.append(text);
  notify();
}

void Exchange::finish() {
  if (!streaming_ || finished_ || cancelled_) return;
  finished_ = true;
  cancel_ = sent_ = idle_ = nullptr;
  notify();
}

void Exchange::on_sent(Task callback) {
  if (!finished_ && !cancelled_) sent_ = std::move(callback);
}

void Exchange::note_sent() {
  if (const Task callback = sent_) callback();  // a copy: it may end the stream, and so itself
}

void Exchange::on_idle(Task callback) {
  if (!finished_ && !cancelled_) idle_ = std::move(callback);
}

void Exchange::note_idle() {
  if (const Task callback = idle_) callback();  // a copy, as above
}

void Exchange::on_cancel(Task callback) {
  if (cancelled_) return callback();
  if (!finished_) cancel_ = std::move(callback);
}

void Exchange::cancel() {
  if (cancelled_) return;
  cancelled_ = true;
  unsent_.clear();
  sent_ = idle_ = nullptr;
  if (const Task callback = std::exchange(cancel_, nullptr)) callback();
  notify();
}

void Exchange::notify() {
  if (output_) output_();
}

}  // namespace nacelle::http
