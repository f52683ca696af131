// Ceilings of the dot product of armv8.2. Built with these flags, and reached only through the table below.
#include <arm_neon.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

struct Int8 {
  using Vector = int32x4_t;
  static constexpr int kMultiplies = 16;
  static Vector ones() { return vdupq_n_s32(1); }
  static Vector add(Vector sum, Vector a, Vector b) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
  }
};

}  // namespace

const CeilingKernels kDotprodCeilings = {Isa::kDotprod, loop_of<Int8>(), {}, {}, nullptr};

}  // namespace nacelle::cpu
