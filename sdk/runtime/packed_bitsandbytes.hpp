// bitsandbytes' matrices.
//   4 bits  X.weight holds the codes of [N, K] in one row, the first of two in the high bits of a byte;
//           X.weight.absmax F32, one for each `block` codes; or U8, with .nested_absmax F32 for each `nested_block` of
//           these and .nested_quant_map F32 [256]: absmax = map[u8] nested + offset.
//           X.weight.quant_state.bitsandbytes__nf4 or __fp4 says block, shape and offset as JSON. w = table[code]
//           absmax
//   8 bits  X.weight I8 [N, K], X.SCB F32 [N]: w = q SCB / 127
// Both become Q8_0. The 16 values of a table are rounded to integers whose step loses least over normal weights: NF4's
// are off by 0.37 % of the absmax at most, FP4's by 0.32 %, and that one code of tiny values alone. What `bitsandbytes`
// calls quant_map is one of the two tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "sdk/runtime/packed_parts.hpp"

namespace nacelle::sdk {

// nullopt where the file has no quant_state of `tensor`. Throws Failure where the parts do not fit.
std::optional<WeightNode> four_bit_blocks(const std::string& tensor, const TensorLookup& lookup,
                                          const StateLookup& states);

// As read_packed of packed_weights.hpp, for kWeightNf4 and kWeightFp4.
void read_four_bit_blocks(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                          std::byte* out);

}  // namespace nacelle::sdk
