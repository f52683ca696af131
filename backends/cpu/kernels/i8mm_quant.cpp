// Matmuls by block formats with NEON and the matrix product of armv8.6: 2 rows of x by 2 of weights, 8 columns deep.
#include "backends/cpu/kernels/simd_neon.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_neon.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row. The costs are counts of instructions: none of this has run on silicon.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 8, 1, 4>("q8a_q8_0_gemm_8x4c8_i8mm", Isa::kI8mm, 16.8),
    quant_variant<NACELLE_TYPE_Q4_0, 8, 1, 4>("q8a_q4_0_gemm_8x4c8_i8mm", Isa::kI8mm, 13.2),
    quant_variant<NACELLE_TYPE_Q4_1, 8, 1, 4>("q8a_q4_1_gemm_8x4c8_i8mm", Isa::kI8mm, 13.8),
    quant_variant<NACELLE_TYPE_Q5_0, 8, 1, 4>("q8a_q5_0_gemm_8x4c8_i8mm", Isa::kI8mm, 14.4),
    quant_variant<NACELLE_TYPE_Q5_1, 8, 1, 4>("q8a_q5_1_gemm_8x4c8_i8mm", Isa::kI8mm, 15),
    quant_variant<NACELLE_TYPE_Q2_K, 8, 1, 4>("q8a_q2_k_gemm_8x4c8_i8mm", Isa::kI8mm, 16.8),
    quant_variant<NACELLE_TYPE_Q3_K, 8, 1, 4>("q8a_q3_k_gemm_8x4c8_i8mm", Isa::kI8mm, 16.8),
    quant_variant<NACELLE_TYPE_Q4_K, 8, 1, 4>("q8a_q4_k_gemm_8x4c8_i8mm", Isa::kI8mm, 14.4),
    quant_variant<NACELLE_TYPE_Q5_K, 8, 1, 4>("q8a_q5_k_gemm_8x4c8_i8mm", Isa::kI8mm, 15.6),
    quant_variant<NACELLE_TYPE_Q6_K, 8, 1, 4>("q8a_q6_k_gemm_8x4c8_i8mm", Isa::kI8mm, 16.2),
    quant_variant<NACELLE_TYPE_IQ4_NL, 8, 1, 4>("q8a_iq4_nl_gemm_8x4c8_i8mm", Isa::kI8mm, 17.4),
    quant_variant<NACELLE_TYPE_IQ4_XS, 8, 1, 4>("q8a_iq4_xs_gemm_8x4c8_i8mm", Isa::kI8mm, 18),
    quant_variant<NACELLE_TYPE_MXFP4, 8, 1, 4>("q8a_mxfp4_gemm_8x4c8_i8mm", Isa::kI8mm, 13.8),
};

}  // namespace

const KernelTable kI8mmQuantKernels = {Isa::kI8mm, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
