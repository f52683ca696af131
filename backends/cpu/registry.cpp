// The static part of kernel selection: predicates cut, static cost ranks.
#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {

std::span<const KernelTable* const> kernel_tables() noexcept {
  static constexpr const KernelTable* kTables[] = {
#if defined(__x86_64__)
    &kAmxKernels,
    &kAvx512Bf16Kernels,
    &kAvx512Kernels,
    &kAvx512QuantKernels,
    &kAvxVnniQuantKernels,
    &kAvx2Kernels,
    &kAvx2QuantKernels,
#elif defined(__aarch64__)
    &kI8mmQuantKernels,
    &kDotprodQuantKernels,
    &kNeonKernels,
    &kNeonQuantKernels,
#endif
    &kPortableKernels,
    &kPortableQuantKernels,
  };
  return kTables;
}

bool differs(const MatmulVariant& variant, bool lone, bool from_memory) noexcept {
  return variant.lone_row == LoneRow::kAlike || (lone && (from_memory || variant.lone_row == LoneRow::kHinted));
}

double cost_on(IsaSet usable, const MatmulVariant& variant, bool lone) noexcept {
  const bool intel = usable.maker() == Maker::kIntel;
  const double many = intel && variant.intel_cost != 0 ? variant.intel_cost : variant.cost;
  const double one = intel ? variant.intel_lone_cost : variant.lone_cost;
  return lone && one != 0 ? one : many;
}

const MatmulVariant* choose_matmul(std::uint32_t type, IsaSet usable, std::string_view pin, bool lone,
                                   bool from_memory) noexcept {
  const MatmulVariant* best = nullptr;
  bool pinned = false;
  for_matmul_variants(type, [&](const MatmulVariant& variant) {
    if (!usable.has(variant.isa) || pinned) return;
    pinned = variant.name == pin;
    if (!pinned && !differs(variant, lone, from_memory)) return;
    if (pinned || !best || cost_on(usable, variant, lone) < cost_on(usable, *best, lone)) best = &variant;
  });
  return best;
}

const KernelTable& choose_table(IsaSet usable) noexcept {
  for (const KernelTable* table : kernel_tables())
    if (usable.has(table->isa) && table->vectors) return *table;
  return kPortableKernels;
}

namespace {

template <class Kernels>
const Kernels* find_type(const Kernels* kernels, std::uint32_t count, std::uint32_t type) noexcept {
  for (std::uint32_t i = 0; i < count; ++i)
    if (kernels[i].type == type) return &kernels[i];
  return nullptr;
}

}  // namespace

const KeyKernels* choose_keys(std::uint32_t type, IsaSet usable) noexcept {
  const AttentionKernels& kernels = *choose_table(usable).attention;
  return find_type(kernels.keys, kernels.type_count, type);
}

const ValueKernels* choose_values(std::uint32_t type, bool aliased, IsaSet usable) noexcept {
  const AttentionKernels& kernels = *choose_table(usable).attention;
  return find_type(aliased ? kernels.aliases : kernels.values, kernels.type_count, type);
}

}  // namespace nacelle::cpu
