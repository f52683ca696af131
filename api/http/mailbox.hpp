// Work on a server's exchanges that comes from other threads. No Boost.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace nacelle::http {

using MailClock = std::chrono::steady_clock;

// What tasks put together, to be sent once.
class Outbox {
 public:
  virtual ~Outbox() = default;
  virtual void flush() = 0;  // under work()
  // [under work()] Whether that may wait for what follows.
  virtual bool may_wait() const { return false; }

 private:
  friend class Mailbox;
  MailClock::time_point flushed_{};  // in the turn of then
};

// How long the pieces of many streams may wait for the next ones, so that one send takes several.
struct Gathering {
  MailClock::duration longest{0};                    // 0: never
  std::function<void(MailClock::time_point)> alarm;  // makes the I/O thread call flush_late() then, or soon after
  MailClock::time_point (*clock)() = MailClock::now;
};

// The engine hands out a step's tokens in one go. Few of them it sends itself, when its turn ends (core/base/turn.hpp):
// to wake the I/O thread for them would cost more. Many cost that thread one wake-up together, and where steps are
// short what they make waits for the next step's, as a send costs more than all else that is done for a token.
class Mailbox {
 public:
  using Task = std::function<void()>;

  // `wake` [any thread]: makes the I/O thread call deliver() soon.
  explicit Mailbox(Task wake, Gathering gathering = {}) : wake_(std::move(wake)), gathering_(std::move(gathering)) {}

  // [any thread] Tasks run one at a time, in the order in which they came: on the I/O thread, or, where all that wait
  // are `short_` and the I/O thread has nothing to do, on this one when its turn ends. A short task neither waits nor
  // holds the last reference to anything that an engine's thread must not end.
  void post(Task task, bool short_ = false);
  // The I/O thread's.
  void deliver();
  void flush_late();

  // [under work()] Flushes `outbox` when the tasks that run now are done, so that what several of them put into it goes
  // out in one piece: at once where none runs. Each comes once a turn.
  void flush_later(std::shared_ptr<Outbox> outbox);
  // Held by whoever works on exchanges. Only the I/O thread waits for it.
  std::mutex& work() noexcept { return work_; }

  static constexpr std::size_t kFew = 4;
  // More than these may wait for the next ones. Fewer have steps so short that a reader would notice.
  static constexpr std::size_t kMany = 16;

 private:
  using Outboxes = std::vector<std::shared_ptr<Outbox>>;

  void end_turn();
  bool take_few();
  void run(bool many);
  void gather();
  void flush(Outboxes& outboxes);

  const Task wake_;
  const Gathering gathering_;
  std::mutex work_, mutex_;
  std::vector<Task> running_;                  // under work_; empty but while they run
  Outboxes outboxes_;                          // under work_
  Outboxes waiting_;                           // under work_: they may wait until due_
  MailClock::time_point delivered_{}, due_{};  // under work_; the first is that of the latest turn with many tasks
  std::vector<Task> tasks_;  // under mutex_, as the next; where there are some, deliver() or end_turn() is on its way
  bool all_short_ = true;
};

}  // namespace nacelle::http
