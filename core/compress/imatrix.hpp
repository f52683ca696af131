// Measuring which channels count: a calibration text runs through a loaded model, and the squares of what goes into
// each matrix are added up.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/compress/importance.hpp"
#include "core/engine/model.hpp"

namespace nacelle::compress {

// How a model is loaded for it: one sequence of `window` tokens, products laid open.
LoadOptions imatrix_load_options(std::uint32_t window);

// Cuts the text into windows, the most `most` of them (0: all), each read from an empty context. Alone on its model
// while it runs. `progress`: windows done, windows in all. `host`: whose plugins say how GGUF names the tensors of
// safetensors. Throws Error: kInvalidArgument for a text of less than one window, kUnsupported for a model whose
// weights GGUF has no names for.
Importance measure_importance(PluginHost& host, Model& model, std::string_view text, std::uint32_t window,
                              std::uint32_t most,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace nacelle::compress
