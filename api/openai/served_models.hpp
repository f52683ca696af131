// The models that a server answers for, by name.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/engine.hpp"

namespace nacelle::openai {

struct ServedModel {
  // `source`: the path that it was loaded from, as whoever asked for it wrote it; empty for the built-in model.
  explicit ServedModel(std::shared_ptr<Model> loaded, EngineOptions options, std::string source = {});

  const std::shared_ptr<Model> model;
  const std::string source;
  const std::int64_t created;     // Unix seconds
  const std::string fingerprint;  // "fp_...": of the program, the model and its placement
  Engine engine;

  const std::string& name() const noexcept { return model->name(); }
};

using ServedModelPtr = std::shared_ptr<ServedModel>;

// All functions may be called from any thread.
class ServedModels {
 public:
  enum class State { kLoading, kReady, kDraining, kLost, kEmpty };

  // Throws RequestError(409) where the name is taken.
  void add(ServedModelPtr model);
  // Takes the model out, or puts another in the place of the one of its name: who found it before may go on with it.
  // Both return what was there and throw as find() does. The caller drops it last; see ModelManager.
  ServedModelPtr remove(std::string_view name);
  ServedModelPtr replace(ServedModelPtr model);
  void set_state(State state);
  // kLost: all is loaded, but no model has its devices any more. kEmpty: the last one was unloaded.
  State state() const;
  std::vector<ServedModelPtr> list() const;
  // "" and "default" are the first. Throws RequestError: 404 model_not_found, 503 while it may still be loading.
  ServedModelPtr find(std::string_view name) const;

 private:
  // Under mutex_.
  std::vector<ServedModelPtr>::const_iterator locate(std::string_view name) const;

  mutable std::mutex mutex_;
  std::vector<ServedModelPtr> models_;
  State state_ = State::kLoading;
};

}  // namespace nacelle::openai
