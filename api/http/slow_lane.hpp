// A thread for the requests that take long to prepare, as one whose grammar is hard to compile: they wait for each
// other there, and not the others for them. No Boost.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace nacelle::http {

// What the calling thread may take its time for: anything, but where a Pacing says otherwise.
enum class Pace {
  kSlow,
  kQuick,   // no: what takes long throws TakesLong
  kRefused  // no: what takes long throws BusyError, for there is no room in the slow lane
};

// Thrown by a handler on a worker before it has answered anything: it runs again from its beginning, at another pace.
struct TakesLong {};

// Sets the calling thread's pace while it lives.
class Pacing {
 public:
  explicit Pacing(Pace pace) noexcept;
  ~Pacing();
  Pacing(const Pacing&) = delete;
  Pacing& operator=(const Pacing&) = delete;
  static Pace now() noexcept;

 private:
  Pace before_;
};

class SlowLane {
 public:
  using Task = std::function<void()>;

  SlowLane() = default;
  // Waits for the task that runs; the others are dropped.
  ~SlowLane();
  SlowLane(const SlowLane&) = delete;
  SlowLane& operator=(const SlowLane&) = delete;

  // [any thread] Runs the task, which must not throw, when its turn comes: clients take turns, as far as they can be
  // told apart. False where too many wait, in all or of this client.
  bool offer(const std::string& client, Task task);

  static constexpr std::size_t kMost = 32, kMostOfClient = 4;  // that wait; of a client with a name

 private:
  struct Waiting {
    std::string client;
    Task task;
  };
  void main();
  Waiting next();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Waiting> waiting_;  // by arrival
  std::string last_;            // whose task ran last
  bool stopping_ = false;
  std::thread thread_;  // from the first task on
};

}  // namespace nacelle::http
