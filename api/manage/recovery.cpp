#include "api/manage/recovery.hpp"

#include <algorithm>

#include "core/base/log.hpp"

namespace nacelle::manage {
namespace {

// A few atomic loads each time. Nobody else tells that a process died which had nothing to do.
constexpr std::chrono::milliseconds kLookEvery{100};
constexpr std::chrono::seconds kFirstPause{1}, kLongestPause{60};

}  // namespace

Recovery::Recovery(openai::ServedModels& models, ModelManager& manager)
    : models_(models), manager_(manager), thread_([this] { main(); }) {}

Recovery::~Recovery() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Recovery::main() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kLookEvery, [this] { return stopping_; })) look();
}

void Recovery::look() {
  for (const openai::ServedModelPtr& model : models_.list()) {
    if (model->engine.can_recover()) try_again(model->reader, attempts_[model->reader]);
  }
}

// Under mutex_. A model that held for a while has been cured: the next loss is a new one.
void Recovery::try_again(const std::string& reader, Attempt& attempt) {
  const auto now = Clock::now();
  if (*attempt.under_way || now < attempt.latest + attempt.pause) return;
  if (now > attempt.latest + 2 * kLongestPause) attempt.pause = std::chrono::seconds(0);
  attempt.latest = now;
  attempt.pause = std::clamp(2 * attempt.pause, kFirstPause, kLongestPause);
  *attempt.under_way = true;
  log::info("{}: its device is lost with the process of its plugin; the model is loaded again", reader);
  manager_.recover(reader, [under_way = attempt.under_way](const Error*) { *under_way = false; });
}

}  // namespace nacelle::manage
