// GGUF's metadata of a model that comes from safetensors: what its graph says (sizes, rope, experts, states) under the
// keys that its family has there, and what only config.json says.
#pragma once

#include <optional>
#include <string>

#include "core/engine/model_graph.hpp"
#include "core/formats/gguf_writer.hpp"
#include "core/formats/model_files.hpp"

namespace nacelle::compress {

// A family in GGUF.
struct GgufFamily {
  std::string name;  // general.architecture
  // Factors that a graph of safetensors has are in GGUF's matrices, so that the two graphs differ.
  bool folds_factors = false;
};

// Sets all but the tokenizer's keys. Throws Error(kUnsupported) for a family that is not known in GGUF, by name, and
// for settings that GGUF cannot say.
GgufFamily write_gguf_keys(const ModelFiles& files, const ModelGraph& model, GgufWriter& to);

// A number of config.json, whole or not; none where the value is null or something else.
std::optional<double> number_of(const ConfigValue* value);

}  // namespace nacelle::compress
