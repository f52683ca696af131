// CPUID and XCR0, read with the compiler's intrinsics: no file of the operating system is trusted for this.
#include "backends/cpu/isa.hpp"

#include <cstdint>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nacelle::cpu {

const char* to_string(Isa isa) noexcept {
  static constexpr const char* kNames[] = {"portable", "avx2", "avx512vnni", "avx512bf16"};
  return kNames[static_cast<int>(isa)];
}

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

bool has(std::uint32_t word, std::initializer_list<int> bits) {
  for (int bit : bits)
    if (!(word >> bit & 1)) return false;
  return true;
}

// Which register files the operating system saves; only valid when CPUID.1:ECX.OSXSAVE is set.
std::uint32_t saved_state() {
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

}  // namespace

Isa detect_isa() noexcept {
  constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;  // leaf 1, ECX
  const Registers one = cpuid(1);
  if (!has(one.c, {kFma, kOsxsave, kAvx, kF16c})) return Isa::kPortable;
  constexpr std::uint32_t kYmm = 0x06, kZmm = 0xe6;  // XMM and YMM; and opmasks, both halves of ZMM
  const std::uint32_t saved = saved_state();
  const Registers seven = cpuid(7);
  constexpr int kAvx2 = 5;  // leaf 7, EBX
  if ((saved & kYmm) != kYmm || !has(seven.b, {kAvx2})) return Isa::kPortable;
  constexpr int kF = 16, kDq = 17, kBw = 30, kVl = 31;  // leaf 7, EBX
  constexpr int kVnni = 11;                             // leaf 7, ECX
  if ((saved & kZmm) != kZmm || !has(seven.b, {kF, kDq, kBw, kVl}) || !has(seven.c, {kVnni})) return Isa::kAvx2;
  constexpr int kBf16 = 5;  // leaf 7.1, EAX
  return seven.a >= 1 && has(cpuid(7, 1).a, {kBf16}) ? Isa::kAvx512Bf16 : Isa::kAvx512;
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
#else
Isa detect_isa() noexcept { return Isa::kPortable; }
std::string processor_name() { return "armv8 processor"; }
#endif

Isa usable_isa(std::string_view cap) {
  const Isa best = detect_isa();
  if (cap.empty()) return best;
  for (Isa isa : kAllIsas)
    if (cap == to_string(isa)) return isa < best ? isa : best;
  throw std::invalid_argument("backend.cpu.isa: '" + std::string(cap) +
                              "' is no level; expected portable, avx2, avx512vnni or avx512bf16");
}

}  // namespace nacelle::cpu
