// Every kernel there is: its name, what it is launched with, and the template instance. Host code sees the names alone
// (Kernel::k_...); the one translation unit a vendor has for device code makes a table of the functions.
//
// Per weight format, in the order of Format: an embedding, and matrix products for one row, for few and for many.
#pragma once

#include <cstdint>

#include "backends/gpu/kernels/arguments.hpp"

// clang-format off
#define NACELLE_GPU_PLAIN_FORMAT(KERNEL, name, Weights)                                          \
  KERNEL(embedding_##name, EmbeddingArguments, (embedding<Weights>))                             \
  KERNEL(matmul_##name##_plain_1, MatmulArguments, (matmul_plain<Weights, 1>))                   \
  KERNEL(matmul_##name##_plain_8, MatmulArguments, (matmul_plain<Weights, 8>))                   \
  KERNEL(moe_matmul_##name, MoeMatmulArguments, (moe_matmul<Weights>))

#define NACELLE_GPU_TENSOR_FORMAT(KERNEL, name, Weights)                                         \
  KERNEL(unpack_##name, UnpackArguments, (unpack<Weights>))                                      \
  KERNEL(matmul_##name##_tensor_8, MatmulArguments, (matmul_tensor_few<Weights>))                \
  KERNEL(matmul_##name##_tensor_64, MatmulArguments, (matmul_tensor_many<Weights, 2, 8>))

#define NACELLE_GPU_ATTENTION(KERNEL, name, Keys, width)                                         \
  KERNEL(attention_##name##_##width##_split, AttentionArguments, (attention<Keys, width, true>)) \
  KERNEL(attention_##name##_##width##_walk, AttentionArguments, (attention<Keys, width, false>))

#define NACELLE_GPU_KERNELS(KERNEL)                                                              \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, f32, F32Weights)                                              \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, f16, F16Weights)                                              \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, bf16, Bf16Weights)                                            \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, q8_0, Q8Weights)                                              \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, q4_0, Q4Weights)                                              \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, q4_k, Q4KWeights)                                             \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, q6_k, Q6KWeights)                                             \
  NACELLE_GPU_PLAIN_FORMAT(KERNEL, any, AnyWeights)                                              \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, f16, F16Weights)                                             \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, bf16, Bf16Weights)                                           \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, q8_0, Q8Weights)                                             \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, q4_0, Q4Weights)                                             \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, q4_k, Q4KWeights)                                            \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, q6_k, Q6KWeights)                                            \
  NACELLE_GPU_TENSOR_FORMAT(KERNEL, any, AnyWeights)                                             \
  KERNEL(matmul_finish, MatmulArguments, (matmul_finish))                                        \
  KERNEL(encode_rows, EncodeArguments, (encode_rows))                                            \
  KERNEL(rms_norm, NormArguments, (rms_norm))                                                    \
  KERNEL(layer_norm, NormArguments, (layer_norm))                                                \
  KERNEL(normalise, ElementArguments, (normalise))                                               \
  KERNEL(softmax, ElementArguments, (softmax))                                                   \
  KERNEL(rope_table, RopeTableArguments, (rope_table))                                           \
  KERNEL(rope, RopeArguments, (rope))                                                            \
  KERNEL(unary, ElementArguments, (elements<UnaryElement>))                                      \
  KERNEL(gated, ElementArguments, (elements<GatedElement>))                                      \
  KERNEL(add, ElementArguments, (elements<AddElement>))                                          \
  KERNEL(multiply, ElementArguments, (elements<MulElement>))                                     \
  KERNEL(scale, ElementArguments, (elements<ScaleElement>))                                      \
  KERNEL(xielu, ElementArguments, (elements<XieluElement>))                                      \
  KERNEL(position_scale, PositionScaleArguments, (position_scale))                               \
  KERNEL(copy_columns, CopyArguments, (copy_columns))                                            \
  KERNEL(pool, PoolArguments, (pool))                                                            \
  KERNEL(kv_write, KvWriteArguments, (kv_write))                                                 \
  KERNEL(copy_block, BlockCopyArguments, (copy_block))                                           \
  NACELLE_GPU_ATTENTION(KERNEL, f32, CachedKeys<NACELLE_TYPE_F32>, 128)                          \
  NACELLE_GPU_ATTENTION(KERNEL, f16, CachedKeys<NACELLE_TYPE_F16>, 128)                          \
  NACELLE_GPU_ATTENTION(KERNEL, bf16, CachedKeys<NACELLE_TYPE_BF16>, 128)                        \
  NACELLE_GPU_ATTENTION(KERNEL, any, CachedKeys<0>, 128)                                         \
  NACELLE_GPU_ATTENTION(KERNEL, any, CachedKeys<0>, 256)                                         \
  NACELLE_GPU_ATTENTION(KERNEL, any, CachedKeys<0>, 576)                                         \
  KERNEL(attention_own_256_walk, AttentionArguments, (attention<OwnKeys, 256, false>))           \
  KERNEL(attention_f16_tensor_split, AttentionArguments, (attention_tensor<false, true>))        \
  KERNEL(attention_f16_tensor_walk, AttentionArguments, (attention_tensor<false, false>))        \
  KERNEL(attention_bf16_tensor_split, AttentionArguments, (attention_tensor<true, true>))        \
  KERNEL(attention_bf16_tensor_walk, AttentionArguments, (attention_tensor<true, false>))        \
  KERNEL(attention_fold, AttentionArguments, (attention_fold))                                   \
  KERNEL(select_adjust, SelectArguments, (select_adjust))                                        \
  KERNEL(select_stretch, SelectArguments, (select_stretch))                                      \
  KERNEL(select_merge, SelectArguments, (select_merge))                                          \
  KERNEL(moe_route, MoeRouteArguments, (moe_route))                                              \
  KERNEL(moe_combine, MoeCombineArguments, (moe_combine))                                        \
  KERNEL(adapter, AdapterArguments, (adapter))                                                   \
  KERNEL(state_scan_64, ScanArguments, (state_scan<64>))                                         \
  KERNEL(state_scan_128, ScanArguments, (state_scan<128>))                                       \
  KERNEL(state_scan_256, ScanArguments, (state_scan<256>))                                       \
  KERNEL(convolution, ConvolutionArguments, (convolution))
// clang-format on

namespace nacelle::gpu {

enum class Kernel : std::uint32_t {
#define NACELLE_GPU_NAME(name, Arguments, function) k_##name,
  NACELLE_GPU_KERNELS(NACELLE_GPU_NAME)
#undef NACELLE_GPU_NAME
};

inline constexpr const char* kKernelNames[] = {
#define NACELLE_GPU_NAME(name, Arguments, function) #name,
    NACELLE_GPU_KERNELS(NACELLE_GPU_NAME)
#undef NACELLE_GPU_NAME
};
inline constexpr std::uint32_t kKernelCount = sizeof(kKernelNames) / sizeof(kKernelNames[0]);

// What a kernel must be launched with: checked where a launch is made.
template <Kernel kernel>
struct ArgumentsOf;
#define NACELLE_GPU_NAME(name, Arguments, function) \
  template <>                                       \
  struct ArgumentsOf<Kernel::k_##name> {            \
    using type = Arguments;                         \
  };
NACELLE_GPU_KERNELS(NACELLE_GPU_NAME)
#undef NACELLE_GPU_NAME

}  // namespace nacelle::gpu
