// Which operations the CPU backend takes.
#pragma once

#include <nacelle/backend.h>

namespace nacelle::cpu {

// True when the compiler has a kernel for `op` with these inputs and attributes. Never throws.
bool supports(const nacelle_graph& graph, const nacelle_op& op) noexcept;

}  // namespace nacelle::cpu
