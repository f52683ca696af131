#include "api/openai/served_models.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

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

ServedModel::ServedModel(std::shared_ptr<Model> loaded, EngineOptions options)
    : model(loaded), created(std::time(nullptr)), fingerprint(fingerprint_of(*loaded)), engine(loaded, std::move(options)) {}

void ServedModels::add(ServedModelPtr model) {
  const std::lock_guard lock(mutex_);
  models_.push_back(std::move(model));
}

void ServedModels::set_state(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
}

ServedModels::State ServedModels::state() const {
  const std::lock_guard lock(mutex_);
  const bool lost = !models_.empty() && std::none_of(models_.begin(), models_.end(), [](const ServedModelPtr& model) {
    return model->engine.can_serve();
  });
  return state_ == State::kReady && lost ? State::kLost : state_;
}

std::vector<ServedModelPtr> ServedModels::list() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

ServedModelPtr ServedModels::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const bool first = name.empty() || name == "default";
  for (const ServedModelPtr& model : models_) {
    if (first || model->name() == name) return model;
  }
  if (state_ == State::kLoading)
    throw http::RequestError({503, "the model is still loading", "model", "model_loading"});
  throw http::RequestError(
      {404, "the model '" + std::string(name.substr(0, 200)) + "' does not exist", "model", "model_not_found"});
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 generator{std::random_device{}()};
  std::uniform_int_distribution<std::size_t> digit(0, kDigits.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kDigits[digit(generator)];
  return id;
}

}  // namespace nacelle::openai
