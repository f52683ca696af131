// Which tensor of a file is most likely the one that is missing. Names of tensors differ by a letter where they mean
// different things (attn_q, attn_k), so an edit distance alone would mislead.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/formats/tensor.hpp"

namespace nacelle {

// "; the file has 'model.language_model.norm.weight', under another prefix" or "; the file has 'blk.0.atn_norm.weight',
// which is nearly that"; empty where there is no such tensor. Names are cut and quoted for one line.
std::string near_tensor(std::string_view name, std::span<const TensorInfo> tensors);

}  // namespace nacelle
