// Kernels of NEON, which every armv8 processor has.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_neon.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/recurrent.hpp"

namespace nacelle::cpu {
namespace {

const MatmulVariant kMatmul[] = {
    {"f32a_f32_gemm_6x16_neon", 1, NACELLE_TYPE_F32, Isa::kNeon, 64, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<F32Weights>},
    {"f32a_f16_gemm_6x16_neon", 1, NACELLE_TYPE_F16, Isa::kNeon, 70, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<F16Weights>},
    {"f32a_bf16_gemm_6x16c2_neon", 1, NACELLE_TYPE_BF16, Isa::kNeon, 70, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kNeonKernels = {
    Isa::kNeon, &kVectorKernels, &kAttentionKernels, kMatmul, sizeof kMatmul / sizeof *kMatmul, &kRecurrentKernels};

}  // namespace nacelle::cpu
