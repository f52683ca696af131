// Matmuls by block formats with AVX-512 VNNI.
#include "backends/cpu/kernels/simd_avx512.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_avx512.hpp"
#include "backends/cpu/kernels/matmul_quant.hpp"
#include "backends/cpu/kernels/matmul_quant_stream.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 4, 3, 1>("q8a_q8_0_gemm_4x48c4_avx512vnni", Isa::kAvx512, 5.4),
    quant_variant<NACELLE_TYPE_Q4_0, 4, 3, 1>("q8a_q4_0_gemm_4x48c4_avx512vnni", Isa::kAvx512, 5.6),
    quant_variant<NACELLE_TYPE_Q4_1, 4, 3, 1>("q8a_q4_1_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.0),
    quant_variant<NACELLE_TYPE_Q5_0, 4, 3, 1>("q8a_q5_0_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.2),
    quant_variant<NACELLE_TYPE_Q5_1, 4, 3, 1>("q8a_q5_1_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.6),
    quant_variant<NACELLE_TYPE_Q2_K, 4, 2, 1>("q8a_q2_k_gemm_4x32c4_avx512vnni", Isa::kAvx512, 8.0),
    quant_variant<NACELLE_TYPE_Q3_K, 4, 2, 1>("q8a_q3_k_gemm_4x32c4_avx512vnni", Isa::kAvx512, 8.0),
    quant_variant<NACELLE_TYPE_Q4_K, 4, 3, 1>("q8a_q4_k_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.6),
    quant_variant<NACELLE_TYPE_Q5_K, 4, 3, 1>("q8a_q5_k_gemm_4x48c4_avx512vnni", Isa::kAvx512, 7.0),
    quant_variant<NACELLE_TYPE_Q6_K, 4, 2, 1>("q8a_q6_k_gemm_4x32c4_avx512vnni", Isa::kAvx512, 7.6),
    quant_variant<NACELLE_TYPE_IQ4_NL, 4, 3, 1>("q8a_iq4_nl_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.0),
    quant_variant<NACELLE_TYPE_IQ4_XS, 4, 3, 1>("q8a_iq4_xs_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.4),
    quant_variant<NACELLE_TYPE_MXFP4, 4, 3, 1>("q8a_mxfp4_gemm_4x48c4_avx512vnni", Isa::kAvx512, 6.0),
    // Q2_K, Q3_K and Q6_K gain little or lose: `nacelle tune` decides.
    streamed_variant<NACELLE_TYPE_Q8_0, 4, 3>("q8a_q8_0_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 5.4, 4.6),
    streamed_variant<NACELLE_TYPE_Q4_0, 4, 3>("q8a_q4_0_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 5.6, 4.8),
    streamed_variant<NACELLE_TYPE_Q4_1, 4, 3>("q8a_q4_1_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.0, 5.2),
    streamed_variant<NACELLE_TYPE_Q5_1, 4, 3>("q8a_q5_1_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.6, 5.8),
    streamed_variant<NACELLE_TYPE_Q2_K, 4, 2>("q8a_q2_k_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 8.0),
    streamed_variant<NACELLE_TYPE_Q3_K, 4, 2>("q8a_q3_k_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 8.0),
    streamed_variant<NACELLE_TYPE_Q4_K, 4, 3>("q8a_q4_k_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.6, 5.8),
    streamed_variant<NACELLE_TYPE_Q6_K, 4, 2>("q8a_q6_k_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 7.6),
    streamed_variant<NACELLE_TYPE_IQ4_NL, 4, 3>("q8a_iq4_nl_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.0, 5.2),
    streamed_variant<NACELLE_TYPE_IQ4_XS, 4, 3>("q8a_iq4_xs_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.4, 5.6),
    streamed_variant<NACELLE_TYPE_MXFP4, 4, 3>("q8a_mxfp4_gemv_1x16c4s_avx512vnni", Isa::kAvx512, 6.0, 5.2),
    hinted_variant<NACELLE_TYPE_Q8_0, 4, 3, 1>("q8a_q8_0_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 5.4),
    hinted_variant<NACELLE_TYPE_Q4_0, 4, 3, 1>("q8a_q4_0_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 5.6),
    hinted_variant<NACELLE_TYPE_Q4_1, 4, 3, 1>("q8a_q4_1_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.0),
    hinted_variant<NACELLE_TYPE_Q5_0, 4, 3, 1>("q8a_q5_0_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.2),
    hinted_variant<NACELLE_TYPE_Q5_1, 4, 3, 1>("q8a_q5_1_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.6),
    hinted_variant<NACELLE_TYPE_Q2_K, 4, 2, 1>("q8a_q2_k_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 8.0),
    hinted_variant<NACELLE_TYPE_Q3_K, 4, 2, 1>("q8a_q3_k_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 8.0),
    hinted_variant<NACELLE_TYPE_Q4_K, 4, 3, 1>("q8a_q4_k_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.6),
    hinted_variant<NACELLE_TYPE_Q5_K, 4, 3, 1>("q8a_q5_k_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 7.0),
    hinted_variant<NACELLE_TYPE_Q6_K, 4, 2, 1>("q8a_q6_k_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 7.6),
    hinted_variant<NACELLE_TYPE_IQ4_NL, 4, 3, 1>("q8a_iq4_nl_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.0),
    hinted_variant<NACELLE_TYPE_IQ4_XS, 4, 3, 1>("q8a_iq4_xs_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.4),
    hinted_variant<NACELLE_TYPE_MXFP4, 4, 3, 1>("q8a_mxfp4_gemv_1x16c4h_avx512vnni", Isa::kAvx512, 6.0),
};

}  // namespace

const KernelTable kAvx512QuantKernels = {Isa::kAvx512, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
