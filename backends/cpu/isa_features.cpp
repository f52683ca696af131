// CPUID and XCR0, read with the compiler's intrinsics, or the auxiliary vector of an Arm kernel. No file of the
// operating system is trusted for this.
#include "backends/cpu/isa.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace nacelle::cpu {

#if defined(__x86_64__)
namespace {

struct Registers {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// XCR0, less the contents of tiles where Linux does not let this process use them: they are off until asked for.
std::uint32_t saved_state() {
  constexpr std::uint32_t kTileData = 18;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which Debian's <asm/prctl.h> may lack
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (low >> kTileData & 1 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) low &= ~(1u << kTileData);
  return low;
}

}  // namespace

FeatureWords read_features() noexcept {
  constexpr std::uint32_t kOsxsave = 1u << 27;
  const std::uint32_t basic = cpuid(1).c;
  const Registers seven = cpuid(7);
  return {basic, seven.b, seven.c, seven.a >= 1 ? cpuid(7, 1).a : 0, basic & kOsxsave ? saved_state() : 0, seven.d};
}

std::string processor_vendor() {
  const Registers r = cpuid(0);
  std::string letters(12, ' ');
  std::memcpy(letters.data(), &r.b, 4);
  std::memcpy(letters.data() + 4, &r.d, 4);
  std::memcpy(letters.data() + 8, &r.c, 4);
  return letters;
}

std::string processor_name() {
  if (cpuid(0x80000000u).a < 0x80000004u) return "x86-64 processor";
  char name[49] = {};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002u + i);
    std::memcpy(name + 16 * i, &r, 16);
  }
  const std::string text = name;
  const auto first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == std::string::npos ? "x86-64 processor" : text.substr(first, last - first + 1);
}
#elif defined(__aarch64__)
FeatureWords read_features() noexcept { return {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)}; }
std::string processor_vendor() { return {}; }
std::string processor_name() { return "armv8 processor"; }
#else
FeatureWords read_features() noexcept { return {}; }
std::string processor_vendor() { return {}; }
std::string processor_name() { return "processor"; }
#endif

}  // namespace nacelle::cpu
