// The ceiling of AVX-VNNI's dot product. Everything else of this level is ceilings_avx2.cpp's.
#include <immintrin.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

struct Int8 {
  using Vector = __m256i;
  static constexpr int kMultiplies = 32;
  static Vector ones() { return _mm256_set1_epi8(1); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
};

}  // namespace

const CeilingKernels kAvxVnniCeilings = {Isa::kAvxVnni, loop_of<Int8>(), {}, {}, nullptr};

}  // namespace nacelle::cpu
