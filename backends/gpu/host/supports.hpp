// Which operations the GPU backends take.
#pragma once

#include <nacelle/op_support.hpp>

namespace nacelle::gpu {

sdk::OpBounds op_bounds() noexcept;

}  // namespace nacelle::gpu
