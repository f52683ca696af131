// What an architecture plugin sees of a model file: ModelFiles behind the C table nacelle_model_config.
#pragma once

#include <nacelle/architecture.h>

#include <string>

#include "core/formats/model_files.hpp"

namespace nacelle {

// `files` must outlive it. Immutable; any thread.
class ModelConfigAdapter {
 public:
  explicit ModelConfigAdapter(const ModelFiles& files);
  ModelConfigAdapter(const ModelConfigAdapter&) = delete;
  ModelConfigAdapter& operator=(const ModelConfigAdapter&) = delete;

  // Valid while the adapter lives.
  const nacelle_model_config* table() const noexcept { return &table_; }

 private:
  std::string architecture_;
  nacelle_model_config table_;
};

}  // namespace nacelle
