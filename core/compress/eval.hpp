// What a model gives the tokens of a text, scored, and held against what another gives them.
#pragma once

#include <cstdint>
#include <functional>

#include "core/compress/scores.hpp"
#include "core/compress/windows.hpp"

namespace nacelle {

// Loads with no more than one sequence needs; at most so many rows of logits a step.
LoadOptions eval_load_options(std::uint32_t window);

// Of `model`, and beside `base` where there is one. `progress`: windows done, windows in all; may be empty. Throws
// Error: kInvalidArgument (param "base") where the two have other vocabularies, kInternal for logits that are no
// numbers.
Scores evaluate(Model& model, Model* base, const TextWindows& text,
                const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace nacelle
