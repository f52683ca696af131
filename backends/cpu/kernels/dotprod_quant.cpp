// Matmuls by block formats with NEON and the dot product of armv8.2.
#include "backends/cpu/kernels/simd_neon.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_neon.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row. The costs are counts of instructions: none of this has run on silicon.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 4, 2, 4>("q8a_q8_0_gemm_4x8c4_dotprod", Isa::kDotprod, 25.2),
    quant_variant<NACELLE_TYPE_Q4_0, 4, 2, 4>("q8a_q4_0_gemm_4x8c4_dotprod", Isa::kDotprod, 19.8),
    quant_variant<NACELLE_TYPE_Q4_1, 4, 2, 4>("q8a_q4_1_gemm_4x8c4_dotprod", Isa::kDotprod, 20.7),
    quant_variant<NACELLE_TYPE_Q5_0, 4, 2, 4>("q8a_q5_0_gemm_4x8c4_dotprod", Isa::kDotprod, 21.6),
    quant_variant<NACELLE_TYPE_Q5_1, 4, 2, 4>("q8a_q5_1_gemm_4x8c4_dotprod", Isa::kDotprod, 22.5),
    quant_variant<NACELLE_TYPE_Q2_K, 4, 2, 4>("q8a_q2_k_gemm_4x8c4_dotprod", Isa::kDotprod, 25.2),
    quant_variant<NACELLE_TYPE_Q3_K, 4, 2, 4>("q8a_q3_k_gemm_4x8c4_dotprod", Isa::kDotprod, 25.2),
    quant_variant<NACELLE_TYPE_Q4_K, 4, 2, 4>("q8a_q4_k_gemm_4x8c4_dotprod", Isa::kDotprod, 21.6),
    quant_variant<NACELLE_TYPE_Q5_K, 4, 2, 4>("q8a_q5_k_gemm_4x8c4_dotprod", Isa::kDotprod, 23.4),
    quant_variant<NACELLE_TYPE_Q6_K, 4, 2, 4>("q8a_q6_k_gemm_4x8c4_dotprod", Isa::kDotprod, 24.3),
    quant_variant<NACELLE_TYPE_IQ4_NL, 4, 2, 4>("q8a_iq4_nl_gemm_4x8c4_dotprod", Isa::kDotprod, 26.1),
    quant_variant<NACELLE_TYPE_IQ4_XS, 4, 2, 4>("q8a_iq4_xs_gemm_4x8c4_dotprod", Isa::kDotprod, 27),
    quant_variant<NACELLE_TYPE_MXFP4, 4, 2, 4>("q8a_mxfp4_gemm_4x8c4_dotprod", Isa::kDotprod, 20.7),
};

}  // namespace

const KernelTable kDotprodQuantKernels = {Isa::kDotprod, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
