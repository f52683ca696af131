#include "api/http/slow_lane.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace nacelle::http {
namespace {

constexpr int kNice = 5;  // a third of another thread's share of a CPU, where there are too few: the engines go first

thread_local Pace pace = Pace::kSlow;

}  // namespace

Pacing::Pacing(Pace now) noexcept : before_(std::exchange(pace, now)) {}
Pacing::~Pacing() { pace = before_; }
Pace Pacing::now() noexcept { return pace; }

SlowLane::~SlowLane() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

bool SlowLane::offer(const std::string& client, Task task) {
  const std::lock_guard lock(mutex_);
  const auto own =
      std::count_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.client == client; });
  if (waiting_.size() >= kMost || (!client.empty() && static_cast<std::size_t>(own) >= kMostOfClient)) return false;
  waiting_.push_back({client, std::move(task)});
  if (!thread_.joinable()) thread_ = std::thread([this] { main(); });
  wake_.notify_one();
  return true;
}

// The oldest of another client than the last one's, else the oldest; under mutex_.
SlowLane::Waiting SlowLane::next() {
  auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.client != last_; });
  if (found == waiting_.end()) found = waiting_.begin();
  Waiting taken = std::move(*found);
  waiting_.erase(found);
  last_ = taken.client;
  return taken;
}

void SlowLane::main() {
  ::setpriority(PRIO_PROCESS, 0, kNice);  // of this thread alone, as Linux has it
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    Waiting taken = next();
    lock.unlock();
    taken.task();
    taken.task = nullptr;
    lock.lock();
  }
}

}  // namespace nacelle::http
