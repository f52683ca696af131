#include "api/http/mailbox.hpp"

#include <utility>

#include "core/base/turn.hpp"

namespace nacelle::http {

void Mailbox::post(Task task, bool short_) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = tasks_.empty();
    all_short_ = short_ && (first || all_short_);
    tasks_.push_back(std::move(task));
  }
  if (!first) return;
  if (Turn::under_way()) {
    Turn::at_end([this] { end_turn(); });
  } else {
    wake_();
  }
}

void Mailbox::end_turn() {
  const std::unique_lock work(work_, std::try_to_lock);
  if (work) {
    const std::lock_guard lock(mutex_);
    if (all_short_ && tasks_.size() <= kFew) running_.swap(tasks_);
  }
  if (!work || running_.empty()) return wake_();
  run();
}

void Mailbox::deliver() {
  const std::lock_guard work(work_);
  {
    const std::lock_guard lock(mutex_);
    running_.swap(tasks_);
  }
  run();
}

void Mailbox::run() {
  for (Task& task : running_) std::exchange(task, nullptr)();
  running_.clear();
  for (auto& outbox : outboxes_) std::exchange(outbox, nullptr)->flush();
  outboxes_.clear();
}

void Mailbox::flush_later(std::shared_ptr<Outbox> outbox) {
  if (running_.empty()) return outbox->flush();
  outboxes_.push_back(std::move(outbox));
}

}  // namespace nacelle::http
