// Ceilings of AVX-512 VNNI. Built with these flags, and reached only through the table below.
#include <immintrin.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

struct Int8 {
  using Vector = __m512i;
  static constexpr int kMultiplies = 64;
  static Vector ones() { return _mm512_set1_epi8(1); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm512_dpbusd_epi32(sum, a, b); }
};
struct F32 {
  using Vector = __m512;
  static constexpr int kMultiplies = 16;
  static Vector ones() { return _mm512_set1_ps(0.5f); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
};

__m512i add(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }

}  // namespace

const CeilingKernels kAvx512Ceilings = {Isa::kAvx512, loop_of<Int8>(), {}, loop_of<F32>(), read_bytes<__m512i, add>};

}  // namespace nacelle::cpu
