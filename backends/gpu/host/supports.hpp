// Which operations the GPU backends take.
#pragma once

#include <cstdint>
#include <nacelle/op_support.hpp>

namespace nacelle::gpu {

inline constexpr std::uint32_t kWidestHead = 576;  // of attention over a cache: kernels/attention.hpp

sdk::OpBounds op_bounds() noexcept;

}  // namespace nacelle::gpu
