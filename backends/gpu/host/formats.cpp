#include "backends/gpu/host/formats.hpp"

#include <nacelle/block_formats.hpp>

namespace nacelle::gpu {
namespace {

#define KERNELS(name)                                                                                       \
  Kernel::k_embedding_##name, Kernel::k_matmul_##name##_plain_1, Kernel::k_matmul_##name##_plain_8,         \
      Kernel::k_matmul_##name##_tensor_8, Kernel::k_matmul_##name##_tensor_64, Kernel::k_moe_matmul_##name, \
      Kernel::k_unpack_##name

// clang-format off
constexpr Format kFormats[] = {
    // name  type             tile lane high scale super bf16
    {"f32",  NACELLE_TYPE_F32,  16, 32, 0,  0, 0, false, Kernel::k_embedding_f32, Kernel::k_matmul_f32_plain_1,
     Kernel::k_matmul_f32_plain_8, kNoKernel, kNoKernel, Kernel::k_moe_matmul_f32, kNoKernel},
    {"f16",  NACELLE_TYPE_F16,  16, 16, 0,  0, 0, false, KERNELS(f16)},
    {"bf16", NACELLE_TYPE_BF16, 16, 16, 0,  0, 0, true,  KERNELS(bf16)},
    {"q8_0", NACELLE_TYPE_Q8_0, 32, 16, 0,  2, 0, false, KERNELS(q8_0)},
    {"q4_0", NACELLE_TYPE_Q4_0, 32,  8, 0,  2, 0, false, KERNELS(q4_0)},
    {"q4_k", NACELLE_TYPE_Q4_K, 32,  8, 0,  2, 4, false, KERNELS(q4_k)},
    {"q6_k", NACELLE_TYPE_Q6_K, 32,  8, 4,  2, 2, false, KERNELS(q6_k)},
    {"any",  NACELLE_TYPE_INVALID, 32, 16, 0, 16, 0, false, KERNELS(any)},
};
// clang-format on
#undef KERNELS

}  // namespace

const Format* find_format(nacelle_type type) {
  for (const Format& format : kFormats)
    if (format.type == type && type != NACELLE_TYPE_INVALID) return &format;
  return block_format(type) ? &kFormats[7] : nullptr;
}

}  // namespace nacelle::gpu
