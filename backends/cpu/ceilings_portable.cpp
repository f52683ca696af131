// Ceilings of the build's baseline: vectors of 16 bytes in the compiler's own notation.
#if defined(__SSSE3__)
#include <immintrin.h>
#endif

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

using U64 = std::uint64_t __attribute__((vector_size(16)));
U64 add(U64 a, U64 b) { return a + b; }

#if defined(__SSSE3__)
struct Int8 {
  using Vector = __m128i;
  static constexpr int kMultiplies = 16;
  static Vector ones() { return _mm_set1_epi8(1); }
  static Vector add(Vector sum, Vector a, Vector b) {
    return _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(a, sum), b));
  }
};
struct F32 {
  using Vector = __m128;
  static constexpr int kMultiplies = 4;
  static Vector ones() { return _mm_set1_ps(0.5f); }
  static Vector add(Vector sum, Vector a, Vector b) { return _mm_add_ps(sum, _mm_mul_ps(a, b)); }
};
constexpr CeilingLoop kInt8 = loop_of<Int8>(), kF32 = loop_of<F32>();
#else
constexpr CeilingLoop kInt8 = {}, kF32 = {};
#endif

}  // namespace

const CeilingKernels kPortableCeilings = {Isa::kPortable, kInt8, {}, kF32, read_bytes<U64, add>};

}  // namespace nacelle::cpu
