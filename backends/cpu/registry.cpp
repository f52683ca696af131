// The static part of kernel selection: predicates cut, static cost ranks.
#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {

std::span<const KernelTable* const> kernel_tables() noexcept {
  static constexpr const KernelTable* kTables[] = {
#if defined(__x86_64__)
    &kAvx512Bf16Kernels,
    &kAvx512Kernels,
    &kAvx2Kernels,
#endif
    &kPortableKernels,
  };
  return kTables;
}

const MatmulVariant* choose_matmul(std::uint32_t type, Isa usable, std::string_view pin) noexcept {
  const MatmulVariant* best = nullptr;
  bool pinned = false;
  for_matmul_variants(type, [&](const MatmulVariant& variant) {
    if (variant.isa > usable || pinned) return;
    pinned = variant.name == pin;
    if (pinned || !best || variant.cost < best->cost) best = &variant;
  });
  return best;
}

const KernelTable& choose_table(Isa usable) noexcept {
  for (const KernelTable* table : kernel_tables())
    if (table->isa <= usable && table->vectors) return *table;
  return kPortableKernels;
}

const AttentionVariant* choose_attention(std::uint32_t key_type, std::uint32_t value_type, Isa usable) noexcept {
  const KernelTable& table = choose_table(usable);
  for (std::uint32_t i = 0; i < table.attention_count; ++i)
    if (table.attention[i].key_type == key_type && table.attention[i].value_type == value_type)
      return &table.attention[i];
  return nullptr;
}

}  // namespace nacelle::cpu
