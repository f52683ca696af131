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
  std::string name = {};                         // the group; empty: the file's own
  std::string path = {};                         // empty: the built-in demo model
  std::string device = {}, split = {};           // empty: the server's own flags
  std::string reader = {};                       // empty: made of the group's name
  bool join = false;                             // the group may have readers already
  std::uint32_t context = 0, max_sequences = 0;  // 0: the server's own flags
};

// What to move: a reader, or a group's only one. Where to: other devices (it is loaded there), another group, or both.
struct MoveSpec {
  std::string name = {}, reader = {};
  std::string device = {}, split = {};
  std::string group = {};
};

struct AdapterSpec {
  std::string name, path;
  std::string base = {};  // the model that it changes; empty: the first
  bool replace = false;   // one of the name gives way
};

// A model that is not served yet or any more, or whose last change failed.
struct Change {
  std::string name;
  std::string state;  // "waiting", "loading", "reloading", "unloading", "moving", "failed"
  std::string error;  // of "failed"
};

// [any thread] Reads the adapter for each reader of its model and serves it; throws as ModelManager::load_adapter
// fails.
void add_adapter(openai::ServedModels& models, const AdapterSpec& spec);
// [any thread] Serves a reader that was loaded, with the adapters of its group.
void add_reader(openai::ServedModels& models, openai::ServedModelPtr reader, bool join);

class ModelManager {
 public:
  using Load = std::function<openai::ServedModelPtr(const LoadSpec&)>;
  // Called on the manager's thread. nullptr: it is done.
  using Done = std::function<void(const Error*)>;

  // `load` runs on the manager's thread and throws Error. With `makes_room` a load that lacks memory unloads readers
  // without requests, the least recently asked first, until it fits. `models` must outlive the object.
  ModelManager(openai::ServedModels& models, Load load, bool makes_room = false);
  // Waits for the change under way; those that wait are dropped.
  ~ModelManager();
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // [any thread] Each returns at once.
  // Fails with kInvalidArgument where the name is taken, else as Model::load does.
  void load(LoadSpec spec, Done done);
  // From the moment it begins no new request finds the model, with all its readers, or the one reader; those it has are
  // finished, or cut after `limit`. Then its memory is given back. kNotFound where there is none.
  void unload(const std::string& name, std::chrono::milliseconds limit, Done done);
  void unload_reader(const std::string& reader, std::chrono::milliseconds limit, Done done);
  // To other devices: loads the model a second time there, puts it in the first one's place and unloads that, so that
  // every request finds one of them. Needs memory for both; where it fails the first one stays. To another group: at
  // once, without its adapters.
  void move(MoveSpec spec, std::chrono::milliseconds limit, Done done);
  // In place of a reader that lost its device and can recover (Engine::can_recover) the same model is loaded again,
  // with its adapters. Nothing is done where there is nothing to recover any more.
  void recover(std::string reader, Done done);
  // Reads an adapter for a model. Fails with kInvalidArgument where the name is taken, kNotFound where there is no such
  // model, else as Model::load_adapter does.
  void load_adapter(AdapterSpec spec, Done done);
  // No new request finds it; those it has are finished. kNotFound where there is none.
  void unload_adapter(const std::string& name, Done done);

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
  openai::ServedModelPtr load_with_room(const LoadSpec& spec, const std::string& stays);
  bool unload_oldest(const std::string& stays);
  static void retire(openai::ServedModelPtr model, std::chrono::milliseconds limit);

  openai::ServedModels& models_;
  const Load load_;
  const bool makes_room_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Under mutex_.
  std::deque<Job> jobs_;
  std::string running_name_, running_verb_;    // empty verb: nothing runs
  bool busy_ = false;                          // also while a change that is over is being told
  std::map<std::string, std::string> failed_;  // why, by name
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace nacelle::manage
