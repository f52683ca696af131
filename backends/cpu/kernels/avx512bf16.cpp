// The matmul of AVX-512 BF16. Everything else of this level is avx512.cpp's.
#include <nacelle/graph.h>

#include "backends/cpu/kernels/simd_avx512.hpp"
// The vocabulary first, then what is made of it.
#include "backends/cpu/kernels/matmul_bf16_avx512.hpp"

namespace nacelle::cpu {
namespace {

// Zen 4 and 5 do a vdpbf16ps where they do a multiply-add of f32. Intel's cores (measured on Emerald Rapids) take four
// times as long for it: half the rate of f32, so that the kernel for f32 activations is the faster one.
const MatmulVariant kMatmul[] = {
    {"bf16a_bf16_gemm_8x48c2_avx512bf16", 3, NACELLE_TYPE_BF16, Isa::kAvx512Bf16, 7, "bf16a-vdpbf16ps",
     Activation::kBf16, kBf16Rows, kBf16Groups, encode_rounding, multiply_bf16, 28},
};

}  // namespace

const KernelTable kAvx512Bf16Kernels = {Isa::kAvx512Bf16, nullptr, nullptr, kMatmul, sizeof kMatmul / sizeof *kMatmul};

}  // namespace nacelle::cpu
