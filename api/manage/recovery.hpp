// Loads a model again whose device went with the process of an isolated plugin: at once the first time, then with
// longer and longer pauses while that is in vain or does not hold.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "api/manage/model_manager.hpp"

namespace nacelle::manage {

class Recovery {
 public:
  // Both must outlive it.
  Recovery(openai::ServedModels& models, ModelManager& manager);
  // A load under way goes on; no other is begun.
  ~Recovery();
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  struct Attempt {
    Clock::time_point latest;
    std::chrono::seconds pause{0};  // from the latest to the next
    // Shared with the job, which may end after this object.
    std::shared_ptr<std::atomic<bool>> under_way = std::make_shared<std::atomic<bool>>(false);
  };
  void main();
  void look();
  void try_again(const std::string& reader, Attempt& attempt);

  openai::ServedModels& models_;
  ModelManager& manager_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::string, Attempt> attempts_;  // by reader; under mutex_
  bool stopping_ = false;                    // under mutex_
  std::thread thread_;
};

}  // namespace nacelle::manage
