// Which instruction sets this process may use: what the processor has, what the kernel saves on a context switch, and
// what the configuration allows.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace nacelle::cpu {

// From the lowest; each has translation units of its own in kernels/. A processor may have a level and lack one before
// it: Ice Lake has kAvx512 and no kAvxVnni.
enum class Isa {
  kPortable,    // the baseline of the build: x86-64-v2, or armv8
  kAvx2,        // AVX2, FMA, F16C
  kAvxVnni,     // and the 256-bit dot product of AVX-VNNI
  kAvx512,      // kAvx2 and AVX-512 F, BW, VL, DQ, VNNI
  kAvx512Bf16,  // and BF16
  kAmx,         // and tiles of int8 and BF16
  kNeon,        // the baseline of armv8, by its own instructions
  kDotprod,     // and the dot product of armv8.2
  kI8mm,        // and the mixed-sign one of armv8.6
};

#if defined(__aarch64__)
inline constexpr Isa kAllIsas[] = {Isa::kPortable, Isa::kNeon, Isa::kDotprod, Isa::kI8mm};
#elif defined(__x86_64__)
inline constexpr Isa kAllIsas[] = {Isa::kPortable, Isa::kAvx2,       Isa::kAvxVnni,
                                   Isa::kAvx512,   Isa::kAvx512Bf16, Isa::kAmx};
#else
inline constexpr Isa kAllIsas[] = {Isa::kPortable};
#endif

// "portable", "avx2", "avx512vnni", ...: as in kernel names and in the setting "backend.cpu.isa".
const char* to_string(Isa isa) noexcept;

// Who made the core, where that changes what a kernel costs.
enum class Maker { kOther, kIntel };

// Levels of this build's architecture, and whose core has them; kPortable is in every set.
class IsaSet {
 public:
  constexpr bool has(Isa isa) const { return bits_ >> static_cast<int>(isa) & 1; }
  constexpr Maker maker() const { return maker_; }
  constexpr IsaSet with(Isa isa) const { return IsaSet(bits_ | bit(isa), maker_); }
  constexpr IsaSet up_to(Isa cap) const { return IsaSet(bits_ & (2 * bit(cap) - 1), maker_); }
  constexpr IsaSet by(Maker maker) const { return IsaSet(bits_, maker); }
  constexpr Isa best() const {
    Isa found = Isa::kPortable;
    for (Isa isa : kAllIsas)
      if (has(isa)) found = isa;
    return found;
  }
  constexpr bool operator==(const IsaSet&) const = default;

  constexpr IsaSet() = default;

 private:
  constexpr IsaSet(std::uint32_t bits, Maker maker) : bits_(bits), maker_(maker) {}
  static constexpr std::uint32_t bit(Isa isa) { return 1u << static_cast<int>(isa); }

  std::uint32_t bits_ = bit(Isa::kPortable);
  Maker maker_ = Maker::kOther;
};

// Every level of kAllIsas, up to `cap`, whatever this machine has.
constexpr IsaSet all_up_to(Isa cap) {
  IsaSet set;
  for (Isa isa : kAllIsas) set = set.with(isa);
  return set.up_to(cap);
}

// What a processor and its operating system say of themselves. x86-64: CPUID.1:ECX, CPUID.7:EBX, CPUID.7:ECX,
// CPUID.(7,1):EAX, the low half of XCR0, and CPUID.7:EDX; a word that does not exist is 0. armv8: AT_HWCAP and
// AT_HWCAP2. (isa_features.cpp)
using FeatureWords = std::array<std::uint64_t, 6>;
// Asks Linux for the tiles' memory where the processor has them; XCR0's bit 18 is missing where it refuses.
FeatureWords read_features() noexcept;

// The levels whose features are all there.
IsaSet levels_of(const FeatureWords& words) noexcept;

// Of CPUID.0's twelve letters, as "GenuineIntel".
Maker maker_of(std::string_view vendor) noexcept;
// "" on other architectures.
std::string processor_vendor();

// The levels that the processor and the operating system both allow.
IsaSet detect_isa() noexcept;

// detect_isa() up to the level `cap`, or all of it; throws std::invalid_argument for a name that is no level.
IsaSet usable_isa(std::string_view cap);

// "AMD EPYC 9B45", or the architecture's name where the processor does not say.
std::string processor_name();

}  // namespace nacelle::cpu
