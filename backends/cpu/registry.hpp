// Every kernel variant of this build, and the choice among those that this machine can run. Any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {

// Tables of all ISAs that this build has, from the highest; those that the processor lacks are listed but never
// called.
std::span<const KernelTable* const> kernel_tables() noexcept;

// Calls visit(variant) for each matmul variant for weights of `type`.
template <class Visitor>
void for_matmul_variants(std::uint32_t type, Visitor visit) {
  for (const KernelTable* table : kernel_tables())
    for (std::uint32_t i = 0; i < table->matmul_count; ++i)
      if (table->matmul[i].weight == type) visit(table->matmul[i]);
}

// Whether a variant is anything but another name for the one of its tile; see LoneRow.
bool differs(const MatmulVariant& variant, bool lone, bool from_memory) noexcept;

// A variant's static cost on a core that has `usable`; `lone`: for one row.
double cost_on(IsaSet usable, const MatmulVariant& variant, bool lone = false) noexcept;

// The cheapest usable variant for weights of `type`, or the one named by `pin` where it is usable; nullptr for none.
// `from_memory`: the weights of a model are more than the caches hold.
const MatmulVariant* choose_matmul(std::uint32_t type, IsaSet usable, std::string_view pin = {}, bool lone = false,
                                   bool from_memory = false) noexcept;

// The highest usable table that has vectors.
const KernelTable& choose_table(IsaSet usable) noexcept;

// nullptr where no cache holds the type.
const KeyKernels* choose_keys(std::uint32_t type, IsaSet usable) noexcept;
// `aliased`: the values are the first columns of the keys.
const ValueKernels* choose_values(std::uint32_t type, bool aliased, IsaSet usable) noexcept;

}  // namespace nacelle::cpu
