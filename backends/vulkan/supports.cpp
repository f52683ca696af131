// What the shaders can do.
#include "backends/vulkan/supports.hpp"

#include "backends/vulkan/packing.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostExperts = 512;    // of shaders/moe_route.comp and moe_group.comp
constexpr std::uint32_t kMostStateRows = 256;  // of shaders/state_scan.comp: 32 in each of 8 threads
constexpr std::uint32_t kLongestFilter = 128;  // of shaders/convolution.comp

}  // namespace

sdk::OpBounds op_bounds() noexcept {
  return {.packs = is_packable,
          .most_experts = kMostExperts,
          .widest_window = UINT32_MAX / 2,
          .expert_adapters = true,
          .states = true,
          .most_state_rows = kMostStateRows,
          .rate_each_row = true,
          .longest_filter = kLongestFilter,
          .chunked_attention = true,
          .position_scale = true,
          .xielu = true};
}

}  // namespace nacelle::vulkan
