// The ceiling of vdpbf16ps. Everything else of this level is ceilings_avx512.cpp's.
#include <immintrin.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

struct Bf16 {
  using Vector = __m512;
  static constexpr int kMultiplies = 32;
  static Vector ones() { return _mm512_castsi512_ps(_mm512_set1_epi16(0x3f00)); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};

}  // namespace

const CeilingKernels kAvx512Bf16Ceilings = {Isa::kAvx512Bf16, {}, loop_of<Bf16>(), {}, nullptr};

}  // namespace nacelle::cpu
