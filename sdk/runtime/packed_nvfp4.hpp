// NVFP4: two E2M1 codes a byte, the first in the low bits, an E4M3 scale for 16 columns and one F32 for the whole
// matrix.
//   ModelOpt            X.weight U8 [N, K/2], X.weight_scale F8_E4M3 [N, K/16], X.weight_scale_2 F32: w = code s s2
//   compressed-tensors  X.weight_packed, X.weight_scale alike, X.weight_global_scale F32: w = code s / global
// Rows of whole 256 columns become Q6_K, whose integer scales for 16 columns hold the E4M3 scales exactly as long as
// the largest of 256 columns is not above 240 times the greatest power of two that divides them all; below that they
// are rounded to it. Others become Q8_0, where the smaller of two neighbouring scales is rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "sdk/runtime/packed_parts.hpp"

namespace nacelle::sdk {

// `values`: the codes; the other parts are named. `divides`: the scale of the whole is a divisor. Throws Failure where
// the parts do not fit.
WeightNode nvfp4(WeightNode values, const std::string& scales, const std::string& whole, bool divides,
                 const TensorLookup& lookup);

// As read_packed of packed_weights.hpp.
void read_nvfp4(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                std::byte* out);

}  // namespace nacelle::sdk
