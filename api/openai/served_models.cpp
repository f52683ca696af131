#include "api/openai/served_models.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <iterator>

#include "api/http/message.hpp"
#include "api/version.hpp"

namespace nacelle::openai {
namespace {

// FNV-1a: stable over runs and machines, which std::hash need not be.
std::uint64_t hash(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325u) {
  for (const char c : text) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

std::string fingerprint_of(const Model& model, const Adapter* adapter = nullptr) {
  std::uint64_t value = hash(version());
  if (adapter) value = hash(adapter->hash, value);
  value = hash(model.architecture_plugin(), hash(model.name(), value));
  for (const Placement& part : model.placement()) value = hash(part.device + std::to_string(part.layers), value);
  return fmt::format("fp_{:010x}", value >> 24);
}

bool fits(std::string_view name, std::string_view pattern) {
  return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

std::int64_t steady_now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

[[noreturn]] void refuse_taken(const std::string& what, const std::string& name, const char* field) {
  throw http::RequestError({409, "a " + what + " called '" + name + "' is served already", field, "model_exists"});
}

// The reader where a new request is through first: those before it and itself, at the pace that was measured. One that
// has none yet counts as fast as the others are.
std::size_t least_wait(const std::vector<ServedModelPtr>& readers) {
  std::vector<Engine::Load> loads;
  double sum = 0, known = 0;
  for (const ServedModelPtr& reader : readers) {
    loads.push_back(reader->engine.load());
    sum += loads.back().seconds_each;
    known += loads.back().seconds_each > 0;
  }
  const double usual = known > 0 ? sum / known : 1;
  const auto wait = [&](const Engine::Load& load) {
    return (load.seconds_each > 0 ? load.seconds_each : usual) * static_cast<double>(load.requests + 1);
  };
  const auto least = std::min_element(loads.begin(), loads.end(),
                                      [&](const Engine::Load& a, const Engine::Load& b) { return wait(a) < wait(b); });
  return static_cast<std::size_t>(least - loads.begin());
}

}  // namespace

ServedModel::ServedModel(const std::shared_ptr<Model>& loaded, const EngineOptions& options, Place at)
    : model(loaded),
      keeps(std::make_shared<Engine>(loaded, options)),
      engine(*keeps),
      group(at.group.empty() ? loaded->name() : at.group),
      reader(at.reader),
      source(at.source),
      asked(std::move(at)),
      created(std::time(nullptr)),
      fingerprint(fingerprint_of(*loaded)),
      used(steady_now()) {}

ServedModel::ServedModel(const ServedModel& of, std::string name)
    : model(of.model),
      keeps(of.keeps),
      engine(*keeps),
      group(std::move(name)),
      reader(of.reader),
      source(of.source),
      asked(of.asked),
      created(of.created),
      fingerprint(of.fingerprint),
      used(of.used.load()) {}

ServedModel::ServedModel(const ServedModel& of, AdapterPtr loaded)
    : model(of.model),
      keeps(of.keeps),
      engine(*keeps),
      adapter(std::move(loaded)),
      group(of.group),
      reader(of.reader),
      source(adapter->path.string()),
      asked(of.asked),
      created(std::time(nullptr)),
      fingerprint(fingerprint_of(*model, adapter.get())),
      used(steady_now()) {}

RequestId ServedModel::submit(GenerationRequest request, EventSink sink) const {
  request.adapter = adapter;
  return engine.submit(std::move(request), std::move(sink));
}

// ---- Changes -------------------------------------------------------------------------------------------------------

bool ServedModels::is_name(std::string_view name) const {
  const auto has_name = [&](const ServedModelPtr& model) { return model->name() == name; };
  return std::any_of(models_.begin(), models_.end(), has_name) ||
         std::any_of(adapters_.begin(), adapters_.end(), has_name);
}

void ServedModels::add(ServedModelPtr model, bool join, std::vector<ServedModelPtr> adapters) {
  const std::lock_guard lock(mutex_);
  const auto is_reader = [&](std::string_view reader) {
    return std::any_of(models_.begin(), models_.end(),
                       [&](const ServedModelPtr& other) { return other->reader == reader; });
  };
  const bool is_group = std::any_of(models_.begin(), models_.end(),
                                    [&](const ServedModelPtr& other) { return other->group == model->group; });
  if (is_name(model->group) && !(join && is_group)) refuse_taken("model", model->group, "name");
  if (!model->reader.empty() && is_reader(model->reader)) refuse_taken("reader", model->reader, "reader");
  if (model->reader.empty()) model->reader = model->group;
  for (int number = 2; is_reader(model->reader); ++number) model->reader = fmt::format("{}-{}", model->group, number);
  models_.push_back(std::move(model));
  std::move(adapters.begin(), adapters.end(), std::back_inserter(adapters_));
}

void ServedModels::drop_adapters(const ServedModel& reader) {
  std::erase_if(adapters_, [&](const ServedModelPtr& adapter) { return adapter->keeps == reader.keeps; });
}

std::vector<ServedModelPtr> ServedModels::remove_group(std::string_view name) {
  const std::lock_guard lock(mutex_);
  std::vector<ServedModelPtr> readers = locate(name, false);
  for (const ServedModelPtr& reader : readers) {
    if (reader->adapter)
      throw http::RequestError(
          {400, "'" + reader->name() + "' is an adapter: POST /v1/unload_lora_adapter", "model", "invalid_value"});
    std::erase(models_, reader);
    drop_adapters(*reader);
  }
  return readers;
}

std::size_t ServedModels::locate_reader(std::string_view reader) const {
  for (std::size_t i = 0; i < models_.size(); ++i) {
    if (models_[i]->reader == reader) return i;
  }
  throw http::RequestError(
      {404, "there is no reader '" + std::string(reader.substr(0, 200)) + "'", "reader", "reader_not_found"});
}

ServedModelPtr ServedModels::remove_reader(std::string_view reader) {
  const std::lock_guard lock(mutex_);
  const auto found = models_.begin() + static_cast<std::ptrdiff_t>(locate_reader(reader));
  ServedModelPtr model = *found;
  models_.erase(found);
  drop_adapters(*model);
  return model;
}

ServedModelPtr ServedModels::replace(std::string_view reader, ServedModelPtr by) {
  const std::lock_guard lock(mutex_);
  ServedModelPtr& place = models_[locate_reader(reader)];
  const bool is_taken = std::any_of(adapters_.begin(), adapters_.end(),
                                    [&](const ServedModelPtr& adapter) { return adapter->name() == by->group; });
  if (is_taken) refuse_taken("model", by->group, "group");
  by->reader = place->reader;
  std::swap(place, by);
  if (place->group != by->group) drop_adapters(*by);
  for (ServedModelPtr& adapter : adapters_) {
    if (adapter->keeps == by->keeps) adapter = std::make_shared<ServedModel>(*place, adapter->adapter);
  }
  return by;
}

void ServedModels::add_adapter(std::vector<ServedModelPtr> adapters, bool replace) {
  const std::lock_guard lock(mutex_);
  const std::string name = adapters.front()->name();
  if (replace) std::erase_if(adapters_, [&](const ServedModelPtr& other) { return other->name() == name; });
  if (is_name(name)) refuse_taken("model", name, "lora_name");
  std::move(adapters.begin(), adapters.end(), std::back_inserter(adapters_));
}

void ServedModels::remove_adapter(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (std::erase_if(adapters_, [&](const ServedModelPtr& adapter) { return adapter->name() == name; }) != 0) return;
  throw http::RequestError(
      {404, "no adapter called '" + std::string(name.substr(0, 200)) + "' is loaded", "lora_name", "model_not_found"});
}

void ServedModels::set_aliases(std::vector<Alias> aliases) {
  const std::lock_guard lock(mutex_);
  aliases_ = std::move(aliases);
}

void ServedModels::set_state(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
}

// ---- Questions -----------------------------------------------------------------------------------------------------

ServedModels::State ServedModels::state() const {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kReady) return state_;
  if (models_.empty()) return State::kEmpty;
  const bool lost = std::none_of(models_.begin(), models_.end(),
                                 [](const ServedModelPtr& model) { return model->engine.can_serve(); });
  return lost ? State::kLost : State::kReady;
}

std::vector<ServedModelPtr> ServedModels::list() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

std::vector<ServedModelPtr> ServedModels::adapters() const {
  const std::lock_guard lock(mutex_);
  return adapters_;
}

std::vector<ServedModelPtr> ServedModels::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<ServedModelPtr> result;
  for (const auto* list : {&models_, &adapters_}) {
    for (const ServedModelPtr& model : *list) {
      const bool is_new = std::none_of(result.begin(), result.end(),
                                       [&](const ServedModelPtr& other) { return other->name() == model->name(); });
      if (is_new) result.push_back(model);
    }
  }
  return result;
}

ServedModelPtr ServedModels::find(std::string_view name) const {
  std::vector<ServedModelPtr> readers = find_group(name);
  const auto serves = [](const ServedModelPtr& model) { return model->engine.can_serve(); };
  if (std::any_of(readers.begin(), readers.end(), serves)) std::erase_if(readers, std::not_fn(serves));
  if (readers.size() > 1) {
    const std::size_t turn = turn_.fetch_add(1, std::memory_order_relaxed) % readers.size();
    std::rotate(readers.begin(), readers.begin() + static_cast<std::ptrdiff_t>(turn), readers.end());
  }
  const ServedModelPtr& chosen = readers[least_wait(readers)];
  chosen->used = steady_now();
  return chosen;
}

std::vector<ServedModelPtr> ServedModels::find_group(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  return locate(name);
}

ServedModelPtr ServedModels::find_reader(std::string_view reader) const {
  const std::lock_guard lock(mutex_);
  return models_[locate_reader(reader)];
}

std::vector<ServedModelPtr> ServedModels::named(std::string_view name) const {
  if ((name.empty() || name == "default") && !models_.empty()) name = models_.front()->group;
  std::vector<ServedModelPtr> found;
  for (const auto* list : {&models_, &adapters_}) {
    for (const ServedModelPtr& model : *list) {
      if (model->name() == name) found.push_back(model);
    }
  }
  return found;
}

std::vector<ServedModelPtr> ServedModels::locate(std::string_view name, bool by_alias) const {
  std::vector<ServedModelPtr> found = named(name);
  const auto alias =
      std::find_if(aliases_.begin(), aliases_.end(), [&](const Alias& one) { return fits(name, one.name); });
  if (found.empty() && by_alias && alias != aliases_.end()) found = named(alias->model);
  if (!found.empty()) return found;
  if (state_ == State::kLoading)
    throw http::RequestError({503, "the model is still loading", "model", "model_loading"});
  if (name.empty() || name == "default") throw http::RequestError({503, "no model is loaded", "model", "no_model"});
  throw http::RequestError(
      {404, "the model '" + std::string(name.substr(0, 200)) + "' does not exist; GET /v1/models lists those that do",
       "model", "model_not_found"});
}

}  // namespace nacelle::openai
