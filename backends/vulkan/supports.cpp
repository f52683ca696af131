// What the shaders can do.
#include "backends/vulkan/supports.hpp"

#include "backends/vulkan/packing.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostExperts = 512;  // of shaders/moe_route.comp and moe_group.comp

}  // namespace

sdk::OpBounds op_bounds() noexcept {
  return {.packs = is_packable, .most_experts = kMostExperts, .widest_window = UINT32_MAX / 2, .expert_adapters = true};
}

}  // namespace nacelle::vulkan
