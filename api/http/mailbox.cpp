#include "api/http/mailbox.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/base/turn.hpp"

namespace nacelle::http {
namespace {

template <class Items, class Which>
void move_if(Items& from, Items& to, Which which) {
  const auto left = std::partition(from.begin(), from.end(), [&](const auto& one) { return !which(one); });
  std::move(left, from.end(), std::back_inserter(to));
  from.erase(left, from.end());
}

}  // namespace

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
  {
    const std::unique_lock work(work_, std::try_to_lock);
    if (work && take_few()) return run(false);
  }  // who is woken wants it
  wake_();
}

// Under work_: what waits, where this thread may do it.
bool Mailbox::take_few() {
  const std::lock_guard lock(mutex_);
  if (!all_short_ || tasks_.size() > kFew) return false;
  running_.swap(tasks_);
  return true;
}

void Mailbox::deliver() {
  const std::lock_guard work(work_);
  {
    const std::lock_guard lock(mutex_);
    running_.swap(tasks_);
  }
  run(gathering_.longest > MailClock::duration::zero() && running_.size() > kMany);
}

void Mailbox::run(bool many) {
  for (Task& task : running_) std::exchange(task, nullptr)();
  running_.clear();
  move_if(waiting_, outboxes_, [](const auto& one) { return !one->may_wait(); });  // since these tasks
  if (many) gather();
  flush(outboxes_);
}

// Puts those aside that may wait and whose stream is fast, all until the first one's time is up. They go out with the
// last turn before that, if turns come as the latest two did; else flush_late() sees to it.
void Mailbox::gather() {
  const auto now = gathering_.clock();
  const auto next = now + (now - std::exchange(delivered_, now));
  const bool none = waiting_.empty();
  move_if(outboxes_, waiting_,
          [&](const auto& one) { return one->may_wait() && now - one->flushed_ <= gathering_.longest; });
  if (waiting_.empty()) return;
  if (none) due_ = now + gathering_.longest;
  if (next > due_) return flush(waiting_);
  if (none) gathering_.alarm(due_);
}

void Mailbox::flush_late() {
  const std::lock_guard work(work_);
  if (waiting_.empty()) return;
  if (gathering_.clock() < due_) return gathering_.alarm(due_);
  flush(waiting_);
}

void Mailbox::flush(Outboxes& outboxes) {
  for (auto& outbox : outboxes) {
    outbox->flushed_ = delivered_;
    std::exchange(outbox, nullptr)->flush();
  }
  outboxes.clear();
}

void Mailbox::flush_later(std::shared_ptr<Outbox> outbox) {
  if (running_.empty()) return outbox->flush();
  outboxes_.push_back(std::move(outbox));
}

}  // namespace nacelle::http
