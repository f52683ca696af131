// Ceilings of NEON. Built with these flags, and reached only through the table below.
#include <arm_neon.h>

#include "backends/cpu/ceilings_loop.hpp"

namespace nacelle::cpu {
namespace {

struct F32 {
  using Vector = float32x4_t;
  static constexpr int kMultiplies = 4;
  static Vector ones() { return vdupq_n_f32(0.5f); }
  static Vector add(Vector sum, Vector a, Vector b) { return vfmaq_f32(sum, a, b); }
};

uint64x2_t add(uint64x2_t a, uint64x2_t b) { return vaddq_u64(a, b); }

}  // namespace

const CeilingKernels kNeonCeilings = {Isa::kNeon, {}, {}, loop_of<F32>(), read_bytes<uint64x2_t, add>};

}  // namespace nacelle::cpu
