// What bitsandbytes keeps as JSON in a tensor of bytes beside each matrix of 4 bits.
#pragma once

#include <optional>
#include <string_view>

#include "core/formats/model_files.hpp"
#include "sdk/runtime/weight_expr.hpp"

namespace nacelle {

// nullopt where the model has no tensor of that name ("X.weight.quant_state.bitsandbytes__nf4"). Throws Error(kCorrupt)
// with the tensor and the key, not the file, where it is no such JSON.
std::optional<sdk::FourBitState> four_bit_state(const ModelFiles& files, std::string_view name);

}  // namespace nacelle
