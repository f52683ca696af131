// Which instruction sets this process may use: what the processor has, what the kernel saves on a context switch, and
// what the configuration allows.
#pragma once

#include <string>
#include <string_view>

namespace nacelle::cpu {

// In order: a level includes those before it. Each has one translation unit in kernels/.
enum class Isa {
  kPortable = 0,    // the baseline of the build: x86-64-v2, or armv8
  kAvx2 = 1,        // AVX2, FMA, F16C
  kAvx512 = 2,      // AVX-512 F, BW, VL, DQ, VNNI
  kAvx512Bf16 = 3,  // and BF16
};

inline constexpr Isa kAllIsas[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

// "portable", "avx2", "avx512vnni", "avx512bf16": as in kernel names and in the setting "backend.cpu.isa".
const char* to_string(Isa isa) noexcept;

// The highest level that the processor and the operating system (XCR0) both allow.
Isa detect_isa() noexcept;

// detect_isa(), capped by the setting; throws std::invalid_argument for a name that is no level.
Isa usable_isa(std::string_view cap);

// "AMD EPYC 9B45", or the architecture's name where the processor does not say.
std::string processor_name();

}  // namespace nacelle::cpu
