// Matmuls by block formats with the build's baseline: x86-64-v2, or armv8.
#include "backends/cpu/kernels/simd_portable.hpp"
// The vocabulary first, then what is made of it.
#if defined(__SSE4_1__)
#include "backends/cpu/kernels/ints_sse4.hpp"
#else
#include "backends/cpu/kernels/ints_portable.hpp"
#endif
#include "backends/cpu/kernels/matmul_quant.hpp"

namespace nacelle::cpu {
namespace {

// Rows, vectors, vectors of a lone row.
const MatmulVariant kMatmul[] = {
    quant_variant<NACELLE_TYPE_Q8_0, 3, 1, 2>("q8a_q8_0_gemm_3x4c4_portable", Isa::kPortable, 86),
    quant_variant<NACELLE_TYPE_Q4_0, 3, 1, 2>("q8a_q4_0_gemm_3x4c4_portable", Isa::kPortable, 56),
    quant_variant<NACELLE_TYPE_Q4_1, 3, 1, 2>("q8a_q4_1_gemm_3x4c4_portable", Isa::kPortable, 60),
    quant_variant<NACELLE_TYPE_Q5_0, 3, 1, 2>("q8a_q5_0_gemm_3x4c4_portable", Isa::kPortable, 62),
    quant_variant<NACELLE_TYPE_Q5_1, 3, 1, 2>("q8a_q5_1_gemm_3x4c4_portable", Isa::kPortable, 66),
    quant_variant<NACELLE_TYPE_Q2_K, 3, 1, 2>("q8a_q2_k_gemm_3x4c4_portable", Isa::kPortable, 80),
    quant_variant<NACELLE_TYPE_Q3_K, 3, 1, 2>("q8a_q3_k_gemm_3x4c4_portable", Isa::kPortable, 80),
    quant_variant<NACELLE_TYPE_Q4_K, 3, 1, 2>("q8a_q4_k_gemm_3x4c4_portable", Isa::kPortable, 66),
    quant_variant<NACELLE_TYPE_Q5_K, 3, 1, 2>("q8a_q5_k_gemm_3x4c4_portable", Isa::kPortable, 70),
    quant_variant<NACELLE_TYPE_Q6_K, 3, 1, 2>("q8a_q6_k_gemm_3x4c4_portable", Isa::kPortable, 76),
    quant_variant<NACELLE_TYPE_IQ4_NL, 3, 1, 2>("q8a_iq4_nl_gemm_3x4c4_portable", Isa::kPortable, 96),
    quant_variant<NACELLE_TYPE_IQ4_XS, 3, 1, 2>("q8a_iq4_xs_gemm_3x4c4_portable", Isa::kPortable, 102),
    quant_variant<NACELLE_TYPE_MXFP4, 3, 1, 2>("q8a_mxfp4_gemm_3x4c4_portable", Isa::kPortable, 60),
};

}  // namespace

const KernelTable kPortableQuantKernels = {Isa::kPortable, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
