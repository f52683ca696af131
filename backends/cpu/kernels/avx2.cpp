// Kernels of AVX2, FMA and F16C. Built with these flags, and reached only through the table below.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_avx2.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/matmul_quant_avx2.hpp"

namespace nacelle::cpu {
namespace {

constexpr auto kInt16ForQ8 = encode_integers<std::int16_t, store_i16, 128>;
constexpr auto kInt8ForQ4 = encode_integers<std::int8_t, store_i8, 8>;

const MatmulVariant kMatmul[] = {
    {"q8a_q8_0_gemm_4x8c4_avx2", 1, NACELLE_TYPE_Q8_0, Isa::kAvx2, 36, "q8a-i32-f32", Activation::kInt16, kQuantRows,
     kInt16ForQ8, multiply_quant<Q8Block>},
    {"q8a_q4_0_gemm_4x8c4_avx2", 1, NACELLE_TYPE_Q4_0, Isa::kAvx2, 24, "q8a-i32-f32", Activation::kInt8, kQuantRows,
     kInt8ForQ4, multiply_quant<Q4Block>},
    {"f32a_f32_gemm_6x16_avx2", 1, NACELLE_TYPE_F32, Isa::kAvx2, 32, "f32-fma", Activation::kFloat, kFloatRows, nullptr,
     multiply_float<F32Weights>},
    {"f32a_f16_gemm_6x16_avx2", 1, NACELLE_TYPE_F16, Isa::kAvx2, 34, "f32-fma", Activation::kFloat, kFloatRows, nullptr,
     multiply_float<F16Weights>},
    {"f32a_bf16_gemm_6x16c2_avx2", 1, NACELLE_TYPE_BF16, Isa::kAvx2, 34, "f32-fma", Activation::kFloat, kFloatRows,
     nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kAvx2Kernels = {Isa::kAvx2, &kVectorKernels, &kAttentionKernels, kMatmul,
                                  sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
