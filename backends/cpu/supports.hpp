// Which operations the CPU backend takes.
#pragma once

#include <nacelle/op_support.hpp>

namespace nacelle::cpu {

sdk::OpBounds op_bounds() noexcept;

}  // namespace nacelle::cpu
