// Kernels of AVX-512 F, BW, VL, DQ and VNNI. Built with these flags, and reached only through the table below.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_avx512.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/matmul_quant_avx512.hpp"

namespace nacelle::cpu {
namespace {

constexpr auto kInt8ForQ8 = encode_integers<std::int8_t, store_i8, 128>;
constexpr auto kInt8ForQ4 = encode_integers<std::int8_t, store_i8, 8>;

const MatmulVariant kMatmul[] = {
    {"q8a_q8_0_gemm_6x32c4_avx512vnni", 1, NACELLE_TYPE_Q8_0, Isa::kAvx512, 5.5, "q8a-i32-f32", Activation::kInt8,
     kQuantRows, kInt8ForQ8, multiply_quant<Q8Block>},
    {"q8a_q4_0_gemm_6x32c4_avx512vnni", 1, NACELLE_TYPE_Q4_0, Isa::kAvx512, 5.8, "q8a-i32-f32", Activation::kInt8,
     kQuantRows, kInt8ForQ4, multiply_quant<Q4Block>},
    {"f32a_f32_gemm_6x32_avx512", 1, NACELLE_TYPE_F32, Isa::kAvx512, 16, "f32-fma", Activation::kFloat, kFloatRows,
     nullptr, multiply_float<F32Weights>},
    {"f32a_f16_gemm_6x32_avx512", 1, NACELLE_TYPE_F16, Isa::kAvx512, 17, "f32-fma", Activation::kFloat, kFloatRows,
     nullptr, multiply_float<F16Weights>},
    {"f32a_bf16_gemm_6x32c2_avx512", 1, NACELLE_TYPE_BF16, Isa::kAvx512, 17, "f32-fma", Activation::kFloat, kFloatRows,
     nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kAvx512Kernels = {Isa::kAvx512, &kVectorKernels, &kAttentionKernels, kMatmul,
                                    sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
