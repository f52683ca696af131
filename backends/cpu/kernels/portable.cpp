// Kernels of the build's baseline: x86-64-v2, or armv8.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_portable.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/attention.hpp"
#include "backends/cpu/kernels/elementwise.hpp"
#include "backends/cpu/kernels/logits.hpp"
#include "backends/cpu/kernels/matmul_float.hpp"
#include "backends/cpu/kernels/matmul_quant_portable.hpp"

namespace nacelle::cpu {
namespace {

constexpr auto kInt8ForQ8 = encode_integers<std::int8_t, store_i8, 128>;
constexpr auto kInt8ForQ4 = encode_integers<std::int8_t, store_i8, 8>;

const MatmulVariant kMatmul[] = {
    {"q8a_q8_0_gemm_1x16c4_portable", 1, NACELLE_TYPE_Q8_0, Isa::kPortable, 120, "q8a-i32-f32", Activation::kInt8, 1,
     kInt8ForQ8, multiply_quant<Q8Block>},
    {"q8a_q4_0_gemm_1x16c4_portable", 1, NACELLE_TYPE_Q4_0, Isa::kPortable, 130, "q8a-i32-f32", Activation::kInt8, 1,
     kInt8ForQ4, multiply_quant<Q4Block>},
    {"f32a_f32_gemm_2x16_portable", 1, NACELLE_TYPE_F32, Isa::kPortable, 140, "f32-mul-add", Activation::kFloat,
     kFloatRows, nullptr, multiply_float<F32Weights>},
    {"f32a_f16_gemm_2x16_portable", 1, NACELLE_TYPE_F16, Isa::kPortable, 300, "f32-mul-add", Activation::kFloat,
     kFloatRows, nullptr, multiply_float<F16Weights>},
    {"f32a_bf16_gemm_2x16c2_portable", 1, NACELLE_TYPE_BF16, Isa::kPortable, 150, "f32-mul-add", Activation::kFloat,
     kFloatRows, nullptr, multiply_float<Bf16Weights>},
};

}  // namespace

const KernelTable kPortableKernels = {Isa::kPortable, &kVectorKernels, &kAttentionKernels, kMatmul,
                                      sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
