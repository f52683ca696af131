// What this processor says of itself, and AVX-VNNI and AMX besides: their units are linked in their emulated form.
#define read_features read_real_features
#include "backends/cpu/isa_features.cpp"
#undef read_features

namespace nacelle::cpu {

FeatureWords read_features() noexcept {
  FeatureWords words = read_real_features();
  words[3] |= 1u << 4;                         // AVX-VNNI
  words[4] |= 1u << 17 | 1u << 18;             // tiles are saved
  words[5] |= 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, AMX-TILE, AMX-INT8
  return words;
}

}  // namespace nacelle::cpu
