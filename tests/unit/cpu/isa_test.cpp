// Levels, caps and the registry's choice.
#include <nacelle/graph.h>

#include <catch2/catch.hpp>
#include <iterator>
#include <nacelle/types.hpp>
#include <set>
#include <stdexcept>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

TEST_CASE("a cap lowers the level and never raises it; an unknown name is refused") {
  CHECK(usable_isa("") == detect_isa());
  CHECK(usable_isa("portable") == IsaSet().by(detect_isa().maker()));
  for (const Isa cap : kAllIsas) {
    INFO(to_string(cap));
    CHECK(usable_isa(to_string(cap)) == detect_isa().up_to(cap));
    CHECK(usable_isa(to_string(cap)).best() <= cap);
  }
  CHECK(usable_isa(to_string(kAllIsas[std::size(kAllIsas) - 1])) == detect_isa());
  CHECK_THROWS_AS(usable_isa("avx9000"), std::invalid_argument);
}

#if defined(__x86_64__)
namespace {

// CPUID.1:ECX, 7:EBX, 7:ECX, (7,1):EAX, XCR0 and 7:EDX as such processors report them.
constexpr std::uint64_t kNehalemBasic = 0x00982201, kHaswellBasic = 0x7ffafbff;
constexpr std::uint64_t kHaswell = 0x000027ab, kIceLake = 0xf2bf27ab, kIceLakeVnni = 0x00415f5e;

IsaSet set_of(std::initializer_list<Isa> levels) {
  IsaSet set;
  for (const Isa isa : levels) set = set.with(isa);
  return set;
}

}  // namespace

TEST_CASE("levels by CPUID and XCR0: each needs all of its features, and none that it does not use") {
  CHECK(levels_of({}) == IsaSet());
  CHECK(levels_of({kNehalemBasic, 0, 0, 0, 0}) == IsaSet());
  const IsaSet avx2 = set_of({Isa::kAvx2}), avxvnni = avx2.with(Isa::kAvxVnni), avx512 = avx2.with(Isa::kAvx512);
  CHECK(levels_of({kHaswellBasic, kHaswell, 0, 0, 0x7}) == avx2);
  CHECK(levels_of({kHaswellBasic, kHaswell, 0, 0x10, 0x7}) == avxvnni);          // Alder Lake
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0, 0xe7}) == avx512);  // Ice Lake: no AVX-VNNI
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0x20, 0xe7}) == avx512.with(Isa::kAvx512Bf16));  // Zen 4
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0x30, 0xe7}) == all_up_to(Isa::kAvx512Bf16));
  const auto sapphire_rapids = [](std::uint64_t saved, std::uint64_t tiles) {
    return levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0x30, saved, tiles});
  };
  CHECK(sapphire_rapids(0x600e7, 0x03400000) == all_up_to(Isa::kAmx));
  for (const int bit : {22, 24, 25})
    CHECK(sapphire_rapids(0x600e7, 0x03400000 & ~(1ull << bit)) == all_up_to(Isa::kAvx512Bf16));
  for (const int bit : {17, 18})  // 18: Linux has refused the memory
    CHECK(sapphire_rapids(0x600e7 & ~(1ull << bit), 0x03400000) == all_up_to(Isa::kAvx512Bf16));
  // Without one feature of AVX-512 each; then with registers that the operating system does not save.
  for (const int bit : {16, 17, 30, 31})
    CHECK(levels_of({kHaswellBasic, kIceLake & ~(1ull << bit), kIceLakeVnni, 0x30, 0xe7}) == avxvnni);
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni & ~(1ull << 11), 0x30, 0xe7}) == avxvnni);
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0x30, 0x7}) == avxvnni);
  CHECK(levels_of({kHaswellBasic, kIceLake, kIceLakeVnni, 0x30, 0x3}) == IsaSet());
  for (const int bit : {12, 27, 28, 29})
    CHECK(levels_of({kHaswellBasic & ~(1ull << bit), kIceLake, kIceLakeVnni, 0x30, 0xe7}) == IsaSet());
}

TEST_CASE("a level that is missing between two others is skipped") {
  const IsaSet ice_lake = set_of({Isa::kAvx2, Isa::kAvx512}), alder_lake = set_of({Isa::kAvx2, Isa::kAvxVnni});
  CHECK(choose_matmul(NACELLE_TYPE_Q4_K, ice_lake)->isa == Isa::kAvx512);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_K, ice_lake.up_to(Isa::kAvxVnni))->isa == Isa::kAvx2);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_K, alder_lake)->isa == Isa::kAvxVnni);
  CHECK(choose_matmul(NACELLE_TYPE_F32, alder_lake)->isa == Isa::kAvx2);
  CHECK(choose_table(alder_lake).isa == Isa::kAvx2);
}

TEST_CASE("a lone row may have another variant than many rows, never one of other bits") {
  for (const IsaSet usable : {all_up_to(Isa::kAmx), all_up_to(Isa::kAvx512Bf16), all_up_to(Isa::kAvx2), IsaSet()})
    for (const Maker maker : {Maker::kOther, Maker::kIntel})
      for (const nacelle::TypeInfo& info : nacelle::kTypes) {
        const MatmulVariant* many = choose_matmul(info.type, usable.by(maker));
        const MatmulVariant* lone = choose_matmul(info.type, usable.by(maker), {}, true);
        REQUIRE((many == nullptr) == (lone == nullptr));
        if (many) CHECK(std::string_view(many->numerics) == lone->numerics);
      }
  const IsaSet zen4 = all_up_to(Isa::kAvx512Bf16);
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, zen4)->isa == Isa::kAvx512);
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, zen4, {}, true)->isa == Isa::kAvx2);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_0, zen4, {}, true)->isa == Isa::kAvx512);
}

TEST_CASE("on Intel's cores a lone row's weights are asked for in two steps, whether they come from memory or not") {
  const IsaSet intel = all_up_to(Isa::kAvx512).by(Maker::kIntel);
  for (const nacelle::TypeInfo& info : nacelle::kTypes) {
    const MatmulVariant* many = choose_matmul(info.type, intel);
    if (!many || many->activation != Activation::kInt8) continue;
    INFO(info.name);
    for (const bool from_memory : {false, true}) {
      const MatmulVariant* lone = choose_matmul(info.type, intel, {}, true, from_memory);
      CHECK(lone->lone_row == LoneRow::kHinted);
      CHECK(lone->isa == many->isa);
    }
  }
}

TEST_CASE("a lone row is read past the caches where they do not hold the model, and nowhere else") {
  const IsaSet zen4 = all_up_to(Isa::kAvx512Bf16);
  for (const nacelle::TypeInfo& info : nacelle::kTypes)
    for (const bool lone : {false, true})
      for (const bool from_memory : {false, true})
        for (const Maker maker : {Maker::kOther, Maker::kIntel}) {
          const MatmulVariant* variant = choose_matmul(info.type, zen4.by(maker), {}, lone, from_memory);
          if (!variant) continue;
          CHECK(std::string_view(variant->numerics) == choose_matmul(info.type, zen4.by(maker))->numerics);
          if (!lone || !from_memory || maker == Maker::kIntel) CHECK(variant->lone_row != LoneRow::kStreamed);
          if (!lone || maker != Maker::kIntel) CHECK(variant->lone_row != LoneRow::kHinted);
        }
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, zen4, {}, true, true)->lone_row == LoneRow::kStreamed);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_0, zen4, {}, true, true)->lone_row == LoneRow::kStreamed);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_K, zen4, {}, true, true)->lone_row == LoneRow::kStreamed);
  CHECK(choose_matmul(NACELLE_TYPE_Q6_K, zen4, {}, true, true)->lone_row != LoneRow::kStreamed);
}

TEST_CASE("BF16 weights: vdpbf16ps where it is as fast as f32's multiply-add, which it is not on Intel's cores") {
  CHECK(maker_of("GenuineIntel") == Maker::kIntel);
  CHECK(maker_of("AuthenticAMD") == Maker::kOther);
  CHECK(processor_vendor().size() == 12);
  const IsaSet zen4 = set_of({Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}), intel = zen4.by(Maker::kIntel);
  CHECK(choose_matmul(NACELLE_TYPE_BF16, zen4)->isa == Isa::kAvx512Bf16);
  CHECK(choose_matmul(NACELLE_TYPE_BF16, intel)->isa == Isa::kAvx512);
  CHECK(choose_matmul(NACELLE_TYPE_BF16, intel.up_to(Isa::kAvx512Bf16))->isa == Isa::kAvx512);
  CHECK(choose_matmul(NACELLE_TYPE_BF16, all_up_to(Isa::kAmx).by(Maker::kIntel))->isa == Isa::kAmx);
  CHECK(choose_matmul(NACELLE_TYPE_Q4_0, intel) == choose_matmul(NACELLE_TYPE_Q4_0, zen4));
}
#endif

TEST_CASE("every weight type has a variant at every level, never above it; a pin chooses, an unusable pin does not") {
  for (const nacelle::TypeInfo& info : nacelle::kTypes)
    for (const Isa cap : kAllIsas) {
      if (!packable(info.type)) continue;
      INFO(info.name);
      const MatmulVariant* variant = choose_matmul(info.type, all_up_to(cap));
      REQUIRE(variant);
      CHECK(variant->isa <= cap);
      CHECK(variant->weight == info.type);
    }
  CHECK(choose_matmul(NACELLE_TYPE_I8, all_up_to(Isa::kI8mm)) == nullptr);
  const char* pin = "q8a_q8_0_gemm_3x4c4_portable";
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, all_up_to(Isa::kI8mm), pin)->name == std::string(pin));
#if defined(__x86_64__)
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, all_up_to(Isa::kAvx2), "q8a_q8_0_gemm_4x48c4_avx512vnni")->isa == Isa::kAvx2);
#endif
}

TEST_CASE("names are unique, and say their level") {
  std::set<std::string> names;
  for (const KernelTable* table : kernel_tables())
    for (std::uint32_t i = 0; i < table->matmul_count; ++i) {
      const std::string name = table->matmul[i].name;
      CHECK(names.insert(name).second);
      CHECK(name.substr(name.rfind('_') + 1).substr(0, 4) == std::string(to_string(table->matmul[i].isa)).substr(0, 4));
    }
}
