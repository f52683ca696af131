// Matmuls by block formats with AVX2.
#include "backends/cpu/kernels/simd_avx2.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_avx2.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row. A lone row of three formats is read from memory 10 to 25 % faster than with 512
// bits (Zen 4, measured where reading is not shared: 28 GB/s a thread for 25.6, 26.7 for 22.2, 23.7 for 18.5).
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 4, 1, 2>("q8a_q8_0_gemm_4x8c4_avx2", Isa::kAvx2, 32, 5.0),
    quant_variant<NACELLE_TYPE_Q4_0, 4, 1, 2>("q8a_q4_0_gemm_4x8c4_avx2", Isa::kAvx2, 22),
    quant_variant<NACELLE_TYPE_Q4_1, 4, 1, 2>("q8a_q4_1_gemm_4x8c4_avx2", Isa::kAvx2, 24),
    quant_variant<NACELLE_TYPE_Q5_0, 4, 1, 2>("q8a_q5_0_gemm_4x8c4_avx2", Isa::kAvx2, 25, 5.4),
    quant_variant<NACELLE_TYPE_Q5_1, 4, 1, 2>("q8a_q5_1_gemm_4x8c4_avx2", Isa::kAvx2, 26),
    quant_variant<NACELLE_TYPE_Q2_K, 4, 1, 2>("q8a_q2_k_gemm_4x8c4_avx2", Isa::kAvx2, 32),
    quant_variant<NACELLE_TYPE_Q3_K, 4, 1, 2>("q8a_q3_k_gemm_4x8c4_avx2", Isa::kAvx2, 32),
    quant_variant<NACELLE_TYPE_Q4_K, 4, 1, 2>("q8a_q4_k_gemm_4x8c4_avx2", Isa::kAvx2, 26),
    quant_variant<NACELLE_TYPE_Q5_K, 4, 1, 2>("q8a_q5_k_gemm_4x8c4_avx2", Isa::kAvx2, 28, 5.8),
    quant_variant<NACELLE_TYPE_Q6_K, 4, 1, 2>("q8a_q6_k_gemm_4x8c4_avx2", Isa::kAvx2, 30),
    quant_variant<NACELLE_TYPE_IQ4_NL, 4, 1, 2>("q8a_iq4_nl_gemm_4x8c4_avx2", Isa::kAvx2, 36),
    quant_variant<NACELLE_TYPE_IQ4_XS, 4, 1, 2>("q8a_iq4_xs_gemm_4x8c4_avx2", Isa::kAvx2, 38),
    quant_variant<NACELLE_TYPE_MXFP4, 4, 1, 2>("q8a_mxfp4_gemm_4x8c4_avx2", Isa::kAvx2, 24),
    hinted_variant<NACELLE_TYPE_Q8_0, 4, 1, 2>("q8a_q8_0_gemv_1x16c4h_avx2", Isa::kAvx2, 32),
    hinted_variant<NACELLE_TYPE_Q4_0, 4, 1, 2>("q8a_q4_0_gemv_1x16c4h_avx2", Isa::kAvx2, 22),
    hinted_variant<NACELLE_TYPE_Q4_1, 4, 1, 2>("q8a_q4_1_gemv_1x16c4h_avx2", Isa::kAvx2, 24),
    hinted_variant<NACELLE_TYPE_Q5_0, 4, 1, 2>("q8a_q5_0_gemv_1x16c4h_avx2", Isa::kAvx2, 25),
    hinted_variant<NACELLE_TYPE_Q5_1, 4, 1, 2>("q8a_q5_1_gemv_1x16c4h_avx2", Isa::kAvx2, 26),
    hinted_variant<NACELLE_TYPE_Q2_K, 4, 1, 2>("q8a_q2_k_gemv_1x16c4h_avx2", Isa::kAvx2, 32),
    hinted_variant<NACELLE_TYPE_Q3_K, 4, 1, 2>("q8a_q3_k_gemv_1x16c4h_avx2", Isa::kAvx2, 32),
    hinted_variant<NACELLE_TYPE_Q4_K, 4, 1, 2>("q8a_q4_k_gemv_1x16c4h_avx2", Isa::kAvx2, 26),
    hinted_variant<NACELLE_TYPE_Q5_K, 4, 1, 2>("q8a_q5_k_gemv_1x16c4h_avx2", Isa::kAvx2, 28),
    hinted_variant<NACELLE_TYPE_Q6_K, 4, 1, 2>("q8a_q6_k_gemv_1x16c4h_avx2", Isa::kAvx2, 30),
    hinted_variant<NACELLE_TYPE_IQ4_NL, 4, 1, 2>("q8a_iq4_nl_gemv_1x16c4h_avx2", Isa::kAvx2, 36),
    hinted_variant<NACELLE_TYPE_IQ4_XS, 4, 1, 2>("q8a_iq4_xs_gemv_1x16c4h_avx2", Isa::kAvx2, 38),
    hinted_variant<NACELLE_TYPE_MXFP4, 4, 1, 2>("q8a_mxfp4_gemv_1x16c4h_avx2", Isa::kAvx2, 24),
};

}  // namespace

const KernelTable kAvx2QuantKernels = {Isa::kAvx2, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
