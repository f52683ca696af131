// Which operations the Vulkan backend takes.
#pragma once

#include <nacelle/op_support.hpp>

namespace nacelle::vulkan {

sdk::OpBounds op_bounds() noexcept;

}  // namespace nacelle::vulkan
