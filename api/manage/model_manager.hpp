// Loads, unloads and moves models while traffic flows: one change at a time, on a thread of its own, so that two loads
// never compete for the same memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/openai/served_models.hpp"

namespace nacelle::manage {

struct LoadSpec {
  std::string name = {};                // empty: the file's own
  std::string path = {};                // empty: the built-in demo model
  std::string device = {}, split = {};  // empty: the server's own flags
};

// A model that is not served yet or any more, or whose last change failed.
struct Change {
  std::string name;
  std::string state;  // "waiting", "loading", "unloading", "moving", "failed"
  std::string error;  // of "failed"
};

class ModelManager {
 public:
  using Load = std::function<openai::ServedModelPtr(const LoadSpec&)>;
  // Called on the manager's thread. nullptr: it is done.
  using Done = std::function<void(const Error*)>;

  // `load` runs on the manager's thread and throws Error. `models` must outlive the object.
  ModelManager(openai::ServedModels& models, Load load);
  // Waits for the change under way; those that wait are dropped.
  ~ModelManager();
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // [any thread] Each returns at once.
  // Fails with kInvalidArgument where the name is taken, else as Model::load does.
  void load(LoadSpec spec, Done done);
  // From the moment it begins no new request finds the model; those it has are finished, or cut after `limit`. Then its
  // memory is given back. kNotFound where there is none.
  void unload(std::string name, std::chrono::milliseconds limit, Done done);
  // Loads the model a second time, on `spec`'s device, puts it in the first one's place and unloads that: every request
  // finds one of them. Needs memory for both; where it fails the first one stays. spec.path counts for nothing.
  void move(LoadSpec spec, std::chrono::milliseconds limit, Done done);

  // [any thread]
  std::vector<Change> changes() const;
  // [any thread] False while a change waits or runs.
  bool idle() const;

 private:
  struct Job {
    std::string name, verb;
    std::function<void()> run;
    Done done;
  };
  void add(Job job);
  void main();
  void finish(const Job& job, const Error* error);
  static void retire(openai::ServedModelPtr model, std::chrono::milliseconds limit);

  openai::ServedModels& models_;
  const Load load_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Under mutex_.
  std::deque<Job> jobs_;
  std::string running_name_, running_verb_;    // empty verb: nothing runs
  std::map<std::string, std::string> failed_;  // why, by name
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace nacelle::manage
