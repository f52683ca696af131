// Matmuls by block formats with NEON.
#include "backends/cpu/kernels/simd_neon.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_neon.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row. The costs are counts of instructions: none of this has run on silicon.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 4, 2, 4>("q8a_q8_0_gemm_4x8c4_neon", Isa::kNeon, 56),
    quant_variant<NACELLE_TYPE_Q4_0, 4, 2, 4>("q8a_q4_0_gemm_4x8c4_neon", Isa::kNeon, 44),
    quant_variant<NACELLE_TYPE_Q4_1, 4, 2, 4>("q8a_q4_1_gemm_4x8c4_neon", Isa::kNeon, 46),
    quant_variant<NACELLE_TYPE_Q5_0, 4, 2, 4>("q8a_q5_0_gemm_4x8c4_neon", Isa::kNeon, 48),
    quant_variant<NACELLE_TYPE_Q5_1, 4, 2, 4>("q8a_q5_1_gemm_4x8c4_neon", Isa::kNeon, 50),
    quant_variant<NACELLE_TYPE_Q2_K, 4, 2, 4>("q8a_q2_k_gemm_4x8c4_neon", Isa::kNeon, 56),
    quant_variant<NACELLE_TYPE_Q3_K, 4, 2, 4>("q8a_q3_k_gemm_4x8c4_neon", Isa::kNeon, 56),
    quant_variant<NACELLE_TYPE_Q4_K, 4, 2, 4>("q8a_q4_k_gemm_4x8c4_neon", Isa::kNeon, 48),
    quant_variant<NACELLE_TYPE_Q5_K, 4, 2, 4>("q8a_q5_k_gemm_4x8c4_neon", Isa::kNeon, 52),
    quant_variant<NACELLE_TYPE_Q6_K, 4, 2, 4>("q8a_q6_k_gemm_4x8c4_neon", Isa::kNeon, 54),
    quant_variant<NACELLE_TYPE_IQ4_NL, 4, 2, 4>("q8a_iq4_nl_gemm_4x8c4_neon", Isa::kNeon, 58),
    quant_variant<NACELLE_TYPE_IQ4_XS, 4, 2, 4>("q8a_iq4_xs_gemm_4x8c4_neon", Isa::kNeon, 60),
    quant_variant<NACELLE_TYPE_MXFP4, 4, 2, 4>("q8a_mxfp4_gemm_4x8c4_neon", Isa::kNeon, 46),
};

}  // namespace

const KernelTable kNeonQuantKernels = {Isa::kNeon, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
