#include "api/manage/model_manager.hpp"

#include <utility>

#include "core/base/log.hpp"

namespace nacelle::manage {

using openai::ServedModel;
using openai::ServedModelPtr;

void add_adapter(openai::ServedModels& models, const AdapterSpec& spec) {
  std::vector<ServedModelPtr> adapters;
  for (const ServedModelPtr& reader : models.find_group(models.find(spec.base)->group)) {
    auto adapter = reader->model->load_adapter(spec.name, spec.path);
    log::info("{}: adapter of rank {} on {}, {} weights", spec.name, adapter->rank, reader->reader,
              adapter->parts.size());
    adapters.push_back(std::make_shared<ServedModel>(*reader, std::move(adapter)));
  }
  models.add_adapter(std::move(adapters), spec.replace);
}

void add_reader(openai::ServedModels& models, ServedModelPtr reader, bool join) {
  std::vector<ServedModelPtr> own;
  for (const ServedModelPtr& other : models.names()) {
    if (!other->adapter || other->group != reader->group) continue;
    auto adapter = reader->model->load_adapter(other->name(), other->source);
    own.push_back(std::make_shared<ServedModel>(*reader, std::move(adapter)));
  }
  models.add(std::move(reader), join, std::move(own));
}

ModelManager::ModelManager(openai::ServedModels& models, Load load, bool makes_room)
    : models_(models), load_(std::move(load)), makes_room_(makes_room), thread_([this] { main(); }) {}

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
  const auto run = [this, spec = std::move(spec)] { add_reader(models_, load_with_room(spec, ""), spec.join); };
  add({std::move(name), "loading", run, std::move(done)});
}

void ModelManager::unload(const std::string& name, std::chrono::milliseconds limit, Done done) {
  const auto run = [this, name, limit] {
    std::vector<ServedModelPtr> readers = models_.remove_group(name);
    for (ServedModelPtr& reader : readers) retire(std::move(reader), limit);
  };
  add({name, "unloading", run, std::move(done)});
}

void ModelManager::unload_reader(const std::string& reader, std::chrono::milliseconds limit, Done done) {
  add({reader, "unloading", [this, reader, limit] { retire(models_.remove_reader(reader), limit); }, std::move(done)});
}

void ModelManager::move(MoveSpec spec, std::chrono::milliseconds limit, Done done) {
  std::string name = spec.reader.empty() ? spec.name : spec.reader;
  const auto run = [this, spec = std::move(spec), limit]() mutable {
    if (spec.reader.empty()) {
      const auto readers = models_.find_group(spec.name);
      if (readers.size() > 1)
        throw Error(ErrorKind::kInvalidArgument,
                    "'" + readers.front()->group + "' has " + std::to_string(readers.size()) + " readers: name one",
                    "reader");
      spec.reader = readers.front()->reader;
    }
    ServedModelPtr first = models_.find_reader(spec.reader);
    const std::string group = spec.group.empty() ? first->group : spec.group;
    if (spec.device.empty() && spec.split.empty()) {
      models_.replace(spec.reader, std::make_shared<ServedModel>(*first, group));
      return;
    }
    const LoadSpec load{.name = group, .path = first->source, .device = spec.device, .split = spec.split};
    first.reset();
    retire(models_.replace(spec.reader, load_with_room(load, spec.reader)), limit);
  };
  add({std::move(name), "moving", run, std::move(done)});
}

void ModelManager::recover(std::string reader, Done done) {
  const auto run = [this, reader] {
    ServedModelPtr lost = models_.find_reader(reader);
    if (!lost->engine.can_recover()) return;
    const openai::ServedModel::Place& asked = lost->asked;
    const LoadSpec spec{.name = lost->group,
                        .path = lost->source,
                        .device = asked.device,
                        .split = asked.split,
                        .context = asked.context,
                        .max_sequences = asked.max_sequences};
    lost.reset();
    retire(models_.replace(reader, load_(spec)), std::chrono::milliseconds(0));
    log::info("{}: loaded again, after the process of its plugin had died", reader);
  };
  add({std::move(reader), "reloading", run, std::move(done)});
}

void ModelManager::load_adapter(AdapterSpec spec, Done done) {
  std::string name = spec.name;
  add({std::move(name), "loading", [this, spec = std::move(spec)] { add_adapter(models_, spec); }, std::move(done)});
}

void ModelManager::unload_adapter(const std::string& name, Done done) {
  add({name, "unloading", [this, name] { models_.remove_adapter(name); }, std::move(done)});
}

// `stays`: a reader that is not unloaded for it.
ServedModelPtr ModelManager::load_with_room(const LoadSpec& spec, const std::string& stays) {
  for (;;) {
    try {
      return load_(spec);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || !makes_room_ || !unload_oldest(stays)) throw;
    }
  }
}

bool ModelManager::unload_oldest(const std::string& stays) {
  ServedModelPtr oldest;
  for (const ServedModelPtr& reader : models_.list()) {
    if (reader->reader == stays || reader->engine.load().requests != 0) continue;
    if (!oldest || reader->used < oldest->used) oldest = reader;
  }
  if (!oldest) return false;
  const std::string reader = oldest->reader;
  oldest.reset();
  log::info("{}: unloaded, since another model needs its memory", reader);
  retire(models_.remove_reader(reader), std::chrono::seconds(30));
  return true;
}

// Frees a model that nobody can find any more, once those who found it before are done with it: also a request that is
// still being read is served. The last one that keeps the engine must be this one. The engine's own thread cannot end
// its engine, and the server's would wait meanwhile.
void ModelManager::retire(ServedModelPtr model, std::chrono::milliseconds limit) {
  const std::string name = model->reader;
  std::shared_ptr<Engine> engine = model->keeps;
  model.reset();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (bool cut = false; engine.use_count() > 1; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
    if (std::chrono::steady_clock::now() < deadline) continue;
    if (!std::exchange(cut, true)) log::warning("{}: requests still ran after {} ms and were cut", name, limit.count());
    engine->drain(std::chrono::milliseconds(0));
    engine->cancel_all();  // again and again: one may be on its way into the engine
  }
  engine.reset();
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
      busy_ = false;
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_ = true;
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
  if (error) log::error("{} {}: {}", job.verb, job.name, error->what());
  {
    std::lock_guard lock(mutex_);
    running_verb_.clear();  // the answer that `done` makes lists changes, and this one is over
    if (error) failed_[job.name] = error->what();
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
  return !busy_ && jobs_.empty();
}

}  // namespace nacelle::manage
