#include "api/openai/served_models.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "api/http/message.hpp"
#include "api/version.hpp"

namespace nacelle::openai {
namespace {

// FNV-1a: stable over runs and machines, which std::hash need not be.
std::uint64_t hash(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325u) {
  for (const char c : text) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

std::string fingerprint_of(const Model& model) {
  std::uint64_t value = hash(version());
  value = hash(model.architecture_plugin(), hash(model.name(), value));
  for (const Placement& part : model.placement()) value = hash(part.device + std::to_string(part.layers), value);
  return fmt::format("fp_{:010x}", value >> 24);
}

}  // namespace

ServedModel::ServedModel(std::shared_ptr<Model> loaded, EngineOptions options, std::string from)
    : model(loaded),
      source(std::move(from)),
      created(std::time(nullptr)),
      fingerprint(fingerprint_of(*loaded)),
      engine(loaded, std::move(options)) {}

void ServedModels::add(ServedModelPtr model) {
  const std::lock_guard lock(mutex_);
  for (const ServedModelPtr& other : models_) {
    if (other->name() == model->name()) {
      throw http::RequestError(
          {409, "a model called '" + model->name() + "' is served already", "name", "model_exists"});
    }
  }
  models_.push_back(std::move(model));
}

ServedModelPtr ServedModels::remove(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = locate(name);
  ServedModelPtr model = *found;
  models_.erase(found);
  return model;
}

ServedModelPtr ServedModels::replace(ServedModelPtr model) {
  const std::lock_guard lock(mutex_);
  const auto found = models_.begin() + (locate(model->name()) - models_.cbegin());
  std::swap(*found, model);
  return model;
}

void ServedModels::set_state(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
}

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

ServedModelPtr ServedModels::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  return *locate(name);
}

std::vector<ServedModelPtr>::const_iterator ServedModels::locate(std::string_view name) const {
  const bool first = name.empty() || name == "default";
  const auto found = std::find_if(models_.begin(), models_.end(),
                                  [&](const ServedModelPtr& model) { return first || model->name() == name; });
  if (found != models_.end()) return found;
  if (state_ == State::kLoading)
    throw http::RequestError({503, "the model is still loading", "model", "model_loading"});
  if (first) throw http::RequestError({503, "no model is loaded", "model", "no_model"});
  throw http::RequestError(
      {404, "the model '" + std::string(name.substr(0, 200)) + "' does not exist", "model", "model_not_found"});
}

}  // namespace nacelle::openai
