// Kernels of the build's baseline: x86-64-v2, or armv8.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_portable.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/recurrent.hpp"

namespace nacelle::cpu {
namespace {

const MatmulVariant kMatmul[] = {
    {"f32a_f32_gemm_2x16_portable", 1, NACELLE_TYPE_F32, Isa::kPortable, 140, "f32-mul-add", Activation::kFloat,
     kFloatRows, kFloatGroups, nullptr, multiply_float<F32Weights>},
    {"f32a_f16_gemm_2x16_portable", 1, NACELLE_TYPE_F16, Isa::kPortable, 300, "f32-mul-add", Activation::kFloat,
     kFloatRows, kFloatGroups, nullptr, multiply_float<F16Weights>},
    {"f32a_bf16_gemm_2x16c2_portable", 1, NACELLE_TYPE_BF16, Isa::kPortable, 150, "f32-mul-add", Activation::kFloat,
     kFloatRows, kFloatGroups, nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kPortableKernels = {
    Isa::kPortable, &kVectorKernels, &kAttentionKernels, kMatmul, sizeof kMatmul / sizeof *kMatmul, &kRecurrentKernels};

}  // namespace nacelle::cpu
