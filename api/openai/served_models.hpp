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
  explicit ServedModel(std::shared_ptr<Model> loaded, EngineOptions options);

  const std::shared_ptr<Model> model;
  const std::int64_t created;     // Unix seconds
  const std::string fingerprint;  // "fp_...": of the program, the model and its placement
  Engine engine;

  const std::string& name() const noexcept { return model->name(); }
};

using ServedModelPtr = std::shared_ptr<ServedModel>;

// All functions may be called from any thread.
class ServedModels {
 public:
  enum class State { kLoading, kReady, kDraining, kLost };

  void add(ServedModelPtr model);
  void set_state(State state);
  // kLost: all is loaded, but no model has its devices any more.
  State state() const;
  std::vector<ServedModelPtr> list() const;
  // "" and "default" are the first. Throws RequestError: 404 model_not_found, 503 while it may still be loading.
  ServedModelPtr find(std::string_view name) const;

 private:
  mutable std::mutex mutex_;
  std::vector<ServedModelPtr> models_;
  State state_ = State::kLoading;
};

// "chatcmpl-" and 24 random letters and digits.
std::string random_id(std::string_view prefix);

}  // namespace nacelle::openai
