// Ceilings of AVX2 and FMA. Built with these flags, and reached only through the table below.
#include <immintrin.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

// Bytes are multiplied by vpmaddubsw and summed to 32 bits by vpmaddwd.
struct Int8 {
  using Vector = __m256i;
  static constexpr int kMultiplies = 32;
  static Vector ones() { return _mm256_set1_epi8(1); }
  static Vector add(Vector sum, Vector a, Vector b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b));
  }
};
struct F32 {
  using Vector = __m256;
  static constexpr int kMultiplies = 8;
  static Vector ones() { return _mm256_set1_ps(0.5f); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, sum); }
};

__m256i add(__m256i a, __m256i b) { return _mm256_add_epi64(a, b); }

}  // namespace

const CeilingKernels kAvx2Ceilings = {Isa::kAvx2, loop_of<Int8>(), {}, loop_of<F32>(), read_bytes<__m256i, add>};

}  // namespace nacelle::cpu
