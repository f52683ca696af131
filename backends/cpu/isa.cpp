// CPUID and XCR0, read with the compiler's intrinsics, or the auxiliary vector of an Arm kernel. No file of the
// operating system is trusted for this.
#include "backends/cpu/isa.hpp"

#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace nacelle::cpu {

const char* to_string(Isa isa) noexcept {
  static constexpr const char* kNames[] = {"portable",   "avx2", "avxvnni", "avx512vnni",
                                           "avx512bf16", "neon", "dotprod", "i8mm"};
  return kNames[static_cast<int>(isa)];
}

namespace {

constexpr std::uint64_t bits(std::initializer_list<int> list) {
  std::uint64_t word = 0;
  for (int bit : list) word |= std::uint64_t{1} << bit;
  return word;
}

struct Level {
  Isa isa;
  FeatureWords needs;
};

#if defined(__x86_64__)
// FMA, OSXSAVE, AVX, F16C; AVX2; F, DQ, BW, VL; AVX512-VNNI; AVX-VNNI, AVX512-BF16.
constexpr std::uint64_t kBasic = bits({12, 27, 28, 29}), kAvx2 = bits({5}), kFoundation = bits({5, 16, 17, 30, 31});
constexpr std::uint64_t kVnni = bits({11}), kAvxVnni = bits({4}), kBf16 = bits({5});
// Saved by the operating system: XMM and YMM; and opmasks, both halves of ZMM.
constexpr std::uint64_t kYmm = bits({1, 2}), kZmm = bits({1, 2, 5, 6, 7});

constexpr Level kLevels[] = {
    {Isa::kAvx2, {kBasic, kAvx2, 0, 0, kYmm}},
    {Isa::kAvxVnni, {kBasic, kAvx2, 0, kAvxVnni, kYmm}},
    {Isa::kAvx512, {kBasic, kFoundation, kVnni, 0, kZmm}},
    {Isa::kAvx512Bf16, {kBasic, kFoundation, kVnni, kBf16, kZmm}},
};

struct Registers {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

std::uint32_t saved_state() {
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
#elif defined(__aarch64__)
constexpr Level kLevels[] = {
    {Isa::kNeon, {HWCAP_ASIMD}},
    {Isa::kDotprod, {HWCAP_ASIMD | HWCAP_ASIMDDP}},
    {Isa::kI8mm, {HWCAP_ASIMD | HWCAP_ASIMDDP, HWCAP2_I8MM}},
};
#else
constexpr Level kLevels[] = {{Isa::kPortable, {}}};
#endif

}  // namespace

#if defined(__x86_64__)
FeatureWords read_features() noexcept {
  constexpr std::uint64_t kOsxsave = bits({27});
  const std::uint32_t basic = cpuid(1).c;
  const Registers seven = cpuid(7);
  return {basic, seven.b, seven.c, seven.a >= 1 ? cpuid(7, 1).a : 0, basic & kOsxsave ? saved_state() : 0};
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
std::string processor_name() { return "armv8 processor"; }
#else
FeatureWords read_features() noexcept { return {}; }
std::string processor_name() { return "processor"; }
#endif

IsaSet levels_of(const FeatureWords& words) noexcept {
  IsaSet set;
  for (const Level& level : kLevels) {
    bool all = true;
    for (std::size_t i = 0; i < words.size(); ++i) all = all && (words[i] & level.needs[i]) == level.needs[i];
    if (all) set = set.with(level.isa);
  }
  return set;
}

IsaSet detect_isa() noexcept { return levels_of(read_features()); }

IsaSet usable_isa(std::string_view cap) {
  if (cap.empty()) return detect_isa();
  std::string known;
  for (Isa isa : kAllIsas) {
    if (cap == to_string(isa)) return detect_isa().up_to(isa);
    known += (known.empty() ? "" : ", ") + std::string(to_string(isa));
  }
  throw std::invalid_argument("backend.cpu.isa: there is no level '" + std::string(cap) + "'; expected one of " +
                              known);
}

}  // namespace nacelle::cpu
