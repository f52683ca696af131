// Levels, caps and the registry's choice.
#include <nacelle/graph.h>

#include <nacelle/types.hpp>
#include <set>
#include <stdexcept>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

TEST_CASE("a cap lowers the level and never raises it; an unknown name is refused") {
  CHECK(usable_isa("") == detect_isa());
  CHECK(usable_isa("portable") == Isa::kPortable);
  CHECK(usable_isa("avx512bf16") == detect_isa());
  CHECK(usable_isa("avx2") <= Isa::kAvx2);
  CHECK_THROWS_AS(usable_isa("avx9000"), std::invalid_argument);
}

TEST_CASE("every weight type has a variant at every level, never above it; a pin chooses, an unusable pin does not") {
  for (const nacelle::TypeInfo& info : nacelle::kTypes)
    for (const Isa isa : kAllIsas) {
      if (!packable(info.type)) continue;
      INFO(info.name);
      const MatmulVariant* variant = choose_matmul(info.type, isa);
      REQUIRE(variant);
      CHECK(variant->isa <= isa);
      CHECK(variant->weight == info.type);
    }
  CHECK(choose_matmul(NACELLE_TYPE_I8, Isa::kAvx512) == nullptr);
  const char* pin = "q8a_q8_0_gemm_3x4c4_portable";
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, Isa::kAvx512, pin)->name == std::string(pin));
#if defined(__x86_64__)
  CHECK(choose_matmul(NACELLE_TYPE_Q8_0, Isa::kAvx2, "q8a_q8_0_gemm_4x48c4_avx512vnni")->isa == Isa::kAvx2);
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
