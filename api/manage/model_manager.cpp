#include "api/manage/model_manager.hpp"

#include <utility>

#include "core/base/log.hpp"

namespace nacelle::manage {

using openai::ServedModelPtr;

ModelManager::ModelManager(openai::ServedModels& models, Load load)
    : models_(models), load_(std::move(load)), thread_([this] { main(); }) {}

ModelManager::~ModelManager() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ModelManager::load(LoadSpec spec, Done done) {
  std::string name = spec.name.empty() ? spec.path : spec.name;
  add({std::move(name), "loading", [this, spec = std::move(spec)] { models_.add(load_(spec)); }, std::move(done)});
}

void ModelManager::unload(std::string name, std::chrono::milliseconds limit, Done done) {
  add({name, "unloading", [this, name, limit] { retire(models_.remove(name), limit); }, std::move(done)});
}

void ModelManager::move(LoadSpec spec, std::chrono::milliseconds limit, Done done) {
  std::string name = spec.name;
  const auto run = [this, spec = std::move(spec), limit]() mutable {
    {
      const ServedModelPtr first = models_.find(spec.name);
      spec.name = first->name();
      spec.path = first->source;
    }
    retire(models_.replace(load_(spec)), limit);
  };
  add({std::move(name), "moving", run, std::move(done)});
}

// Frees a model that nobody can find any more, once those who found it before are done with it: also a request that is
// still being read is served. The last reference must be this one. The engine's own thread cannot end its engine, and
// the server's would wait meanwhile.
void ModelManager::retire(ServedModelPtr model, std::chrono::milliseconds limit) {
  const std::string name = model->name();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (bool cut = false; model.use_count() > 1; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
    if (std::chrono::steady_clock::now() < deadline) continue;
    if (!std::exchange(cut, true)) log::warning("{}: requests still ran after {} ms and were cut", name, limit.count());
    model->engine.drain(std::chrono::milliseconds(0));
    model->engine.cancel_all();  // again and again: one may be on its way into the engine
  }
  model.reset();
  log::info("{}: unloaded", name);
}

void ModelManager::add(Job job) {
  {
    std::lock_guard lock(mutex_);
    failed_.erase(job.name);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void ModelManager::main() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      running_verb_.clear();
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      running_name_ = job.name;
      running_verb_ = job.verb;
    }
    try {
      job.run();
      finish(job, nullptr);
    } catch (const Error& error) {
      finish(job, &error);
    } catch (const std::exception& error) {
      const Error internal(ErrorKind::kInternal, error.what());
      finish(job, &internal);
    }
  }
}

void ModelManager::finish(const Job& job, const Error* error) {
  if (error) {
    log::error("{} {}: {}", job.verb, job.name, error->what());
    std::lock_guard lock(mutex_);
    failed_[job.name] = error->what();
  }
  if (job.done) job.done(error);
}

std::vector<Change> ModelManager::changes() const {
  std::lock_guard lock(mutex_);
  std::vector<Change> result;
  for (const auto& [name, error] : failed_) result.push_back({name, "failed", error});
  if (!running_verb_.empty()) result.push_back({running_name_, running_verb_, ""});
  for (const Job& job : jobs_) result.push_back({job.name, "waiting", ""});
  return result;
}

bool ModelManager::idle() const {
  std::lock_guard lock(mutex_);
  return running_verb_.empty() && jobs_.empty();
}

}  // namespace nacelle::manage
