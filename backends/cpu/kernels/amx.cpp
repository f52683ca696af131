// Matmuls with the tiles of AMX, int8 and BF16. Everything else of this level is the AVX-512 units'.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_avx512.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/ints_avx512.hpp"
#include "backends/cpu/kernels/matmul_amx.hpp"

namespace nacelle::cpu {
namespace {

// Against AVX-512 VNNI as measured on Granite Rapids, 512 rows. The two runs of a block of Q2_K, Q3_K and Q6_K are two
// products, each of half of a tile's depth: slower than vpdpbusd.
const MatmulVariant kMatmul[] = {
    amx_variant<NACELLE_TYPE_Q8_0>("q8a_q8_0_gemm_16x16_amx", 4.1),
    amx_variant<NACELLE_TYPE_Q4_0>("q8a_q4_0_gemm_16x16_amx", 3.7),
    amx_variant<NACELLE_TYPE_Q4_1>("q8a_q4_1_gemm_16x16_amx", 4.4),
    amx_variant<NACELLE_TYPE_Q5_0>("q8a_q5_0_gemm_16x16_amx", 4.7),
    amx_variant<NACELLE_TYPE_Q5_1>("q8a_q5_1_gemm_16x16_amx", 5.5),
    amx_variant<NACELLE_TYPE_Q2_K>("q8a_q2_k_gemm_16x16_amx", 8.9),
    amx_variant<NACELLE_TYPE_Q3_K>("q8a_q3_k_gemm_16x16_amx", 8.8),
    amx_variant<NACELLE_TYPE_Q4_K>("q8a_q4_k_gemm_16x16_amx", 5.8),
    amx_variant<NACELLE_TYPE_Q5_K>("q8a_q5_k_gemm_16x16_amx", 6.1),
    amx_variant<NACELLE_TYPE_Q6_K>("q8a_q6_k_gemm_16x16_amx", 7.9),
    amx_variant<NACELLE_TYPE_IQ4_NL>("q8a_iq4_nl_gemm_16x16_amx", 3.9),
    amx_variant<NACELLE_TYPE_IQ4_XS>("q8a_iq4_xs_gemm_16x16_amx", 5.6),
    amx_variant<NACELLE_TYPE_MXFP4>("q8a_mxfp4_gemm_16x16_amx", 4.0),
    {"bf16a_bf16_gemm_32x32c2_amx", 2, NACELLE_TYPE_BF16, Isa::kAmx, 3, "bf16a-tdpbf16ps", Activation::kBf16, kTile, 4,
     encode_bf16, multiply_bf16_amx, 0, 0, 0, LoneRow::kAlike, 64},
};

}  // namespace

const KernelTable kAmxKernels = {Isa::kAmx, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
