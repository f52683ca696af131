// Kernels of AVX-512 F, BW, VL, DQ and VNNI. Built with these flags, and reached only through the table below.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_avx512.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/recurrent.hpp"

namespace nacelle::cpu {
namespace {

const MatmulVariant kMatmul[] = {
    {"f32a_f32_gemm_8x48_avx512", 1, NACELLE_TYPE_F32, Isa::kAvx512, 16, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<F32Weights>},
    {"f32a_f16_gemm_8x48_avx512", 1, NACELLE_TYPE_F16, Isa::kAvx512, 17, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<F16Weights>},
    {"f32a_bf16_gemm_8x48c2_avx512", 1, NACELLE_TYPE_BF16, Isa::kAvx512, 17, "f32-fma", Activation::kFloat, kFloatRows,
     kFloatGroups, nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kAvx512Kernels = {
    Isa::kAvx512, &kVectorKernels, &kAttentionKernels, kMatmul, sizeof kMatmul / sizeof *kMatmul, &kRecurrentKernels};

}  // namespace nacelle::cpu
