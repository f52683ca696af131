// Matmuls by block formats with AVX2 and the dot product of AVX-VNNI.
#include "backends/cpu/kernels/simd_avx2.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_avx2.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 3, 2, 2>("q8a_q8_0_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 15.4),
    quant_variant<NACELLE_TYPE_Q4_0, 3, 2, 2>("q8a_q4_0_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 15),
    quant_variant<NACELLE_TYPE_Q4_1, 3, 2, 2>("q8a_q4_1_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 15.5),
    quant_variant<NACELLE_TYPE_Q5_0, 3, 2, 2>("q8a_q5_0_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 17.3),
    quant_variant<NACELLE_TYPE_Q5_1, 3, 2, 2>("q8a_q5_1_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 18.3),
    quant_variant<NACELLE_TYPE_Q2_K, 3, 2, 2>("q8a_q2_k_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 21),
    quant_variant<NACELLE_TYPE_Q3_K, 3, 2, 2>("q8a_q3_k_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 20.4),
    quant_variant<NACELLE_TYPE_Q4_K, 3, 2, 2>("q8a_q4_k_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 16.3),
    quant_variant<NACELLE_TYPE_Q5_K, 3, 2, 2>("q8a_q5_k_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 19.5),
    quant_variant<NACELLE_TYPE_Q6_K, 3, 2, 2>("q8a_q6_k_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 21.2),
    quant_variant<NACELLE_TYPE_IQ4_NL, 3, 2, 2>("q8a_iq4_nl_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 14.4),
    quant_variant<NACELLE_TYPE_IQ4_XS, 3, 2, 2>("q8a_iq4_xs_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 15.1),
    quant_variant<NACELLE_TYPE_MXFP4, 3, 2, 2>("q8a_mxfp4_gemm_3x16c4_avxvnni", Isa::kAvxVnni, 16.4),
    hinted_variant<NACELLE_TYPE_Q8_0, 3, 2, 2>("q8a_q8_0_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 15.4),
    hinted_variant<NACELLE_TYPE_Q4_0, 3, 2, 2>("q8a_q4_0_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 15),
    hinted_variant<NACELLE_TYPE_Q4_1, 3, 2, 2>("q8a_q4_1_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 15.5),
    hinted_variant<NACELLE_TYPE_Q5_0, 3, 2, 2>("q8a_q5_0_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 17.3),
    hinted_variant<NACELLE_TYPE_Q5_1, 3, 2, 2>("q8a_q5_1_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 18.3),
    hinted_variant<NACELLE_TYPE_Q2_K, 3, 2, 2>("q8a_q2_k_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 21),
    hinted_variant<NACELLE_TYPE_Q3_K, 3, 2, 2>("q8a_q3_k_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 20.4),
    hinted_variant<NACELLE_TYPE_Q4_K, 3, 2, 2>("q8a_q4_k_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 16.3),
    hinted_variant<NACELLE_TYPE_Q5_K, 3, 2, 2>("q8a_q5_k_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 19.5),
    hinted_variant<NACELLE_TYPE_Q6_K, 3, 2, 2>("q8a_q6_k_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 21.2),
    hinted_variant<NACELLE_TYPE_IQ4_NL, 3, 2, 2>("q8a_iq4_nl_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 14.4),
    hinted_variant<NACELLE_TYPE_IQ4_XS, 3, 2, 2>("q8a_iq4_xs_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 15.1),
    hinted_variant<NACELLE_TYPE_MXFP4, 3, 2, 2>("q8a_mxfp4_gemv_1x16c4h_avxvnni", Isa::kAvxVnni, 16.4),
};

}  // namespace

const KernelTable kAvxVnniQuantKernels = {Isa::kAvxVnni, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
