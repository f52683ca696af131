// Matrices of quantized Hugging Face checkpoints, which architectures need not know: where the tensor "X.weight" is
// asked for and the file has GPTQ's, AWQ's, FP8's or compressed-tensors' parts of it instead, the host decodes them;
// NVFP4's are told of in packed_nvfp4.hpp, those of bitsandbytes in packed_bitsandbytes.hpp.
//   GPTQ  X.qweight I32 [K/8, N], X.qzeros I32 [groups, N/8], X.scales F16 [groups, N]: w = (q - z - 1) s
//   AWQ   X.qweight I32 [K, N/8], the rest alike, eight columns in the order 0 2 4 6 1 3 5 7: w = (q - z) s
//   FP8   X.weight F8_E4M3 [N, K], X.weight_scale_inv [N/128, K/128] (rounded up) or X.weight_scale [1] or [N, 1]
//   compressed-tensors: X.weight_packed I32 [N, K/8], the first column lowest, X.weight_scale [N, groups], perhaps
//         X.weight_zero_point I32 [N/8, groups], else 8: w = (q - z) s; or X.weight I8 [N, K] with such a scale: w = q
//         s; or FP8 as above
// Integers become Q8_0, which holds them exactly (blocks of 32 share the group's scale) where its F16 holds the scale;
// FP8 becomes F16.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "sdk/runtime/packed_parts.hpp"

namespace nacelle::sdk {

// A node of one of the kinds above, whose `tensor` is the name asked for; nullopt where the file has `tensor` as it is,
// or nothing of it. Throws Failure where the parts do not fit.
std::optional<WeightNode> resolve_packed(const std::string& tensor, const TensorLookup& lookup,
                                         const StateLookup& states = {});

inline bool is_packed(const WeightNode& node) noexcept { return node.kind >= kWeightGptq; }

// Bytes [offset, offset + size) of the decoded matrix, whole blocks; `parts` are the bytes of the node's inputs.
void read_packed(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                 std::byte* out);

}  // namespace nacelle::sdk
