// Which features each level needs.
#include "backends/cpu/isa.hpp"

#include <stdexcept>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace nacelle::cpu {

const char* to_string(Isa isa) noexcept {
  static constexpr const char* kNames[] = {"portable", "avx2", "avxvnni", "avx512vnni", "avx512bf16",
                                           "amx",      "neon", "dotprod", "i8mm"};
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
// FMA, OSXSAVE, AVX, F16C; AVX2; F, DQ, BW, VL; AVX512-VNNI; AVX-VNNI, AVX512-BF16; AMX-BF16, AMX-TILE, AMX-INT8.
constexpr std::uint64_t kBasic = bits({12, 27, 28, 29}), kAvx2 = bits({5}), kFoundation = bits({5, 16, 17, 30, 31});
constexpr std::uint64_t kVnni = bits({11}), kAvxVnni = bits({4}), kBf16 = bits({5}), kTiles = bits({22, 24, 25});
// Saved by the operating system: XMM and YMM; and opmasks, both halves of ZMM; and the shapes and contents of tiles.
constexpr std::uint64_t kYmm = bits({1, 2}), kZmm = bits({1, 2, 5, 6, 7}), kTmm = kZmm | bits({17, 18});

constexpr Level kLevels[] = {
    {Isa::kAvx2, {kBasic, kAvx2, 0, 0, kYmm}},
    {Isa::kAvxVnni, {kBasic, kAvx2, 0, kAvxVnni, kYmm}},
    {Isa::kAvx512, {kBasic, kFoundation, kVnni, 0, kZmm}},
    {Isa::kAvx512Bf16, {kBasic, kFoundation, kVnni, kBf16, kZmm}},
    {Isa::kAmx, {kBasic, kFoundation, kVnni, kBf16, kTmm, kTiles}},
};
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

IsaSet levels_of(const FeatureWords& words) noexcept {
  IsaSet set;
  for (const Level& level : kLevels) {
    bool all = true;
    for (std::size_t i = 0; i < words.size(); ++i) all = all && (words[i] & level.needs[i]) == level.needs[i];
    if (all) set = set.with(level.isa);
  }
  return set;
}

Maker maker_of(std::string_view vendor) noexcept { return vendor == "GenuineIntel" ? Maker::kIntel : Maker::kOther; }

IsaSet detect_isa() noexcept { return levels_of(read_features()).by(maker_of(processor_vendor())); }

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
