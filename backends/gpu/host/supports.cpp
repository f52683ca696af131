// What the kernels can do.
#include "backends/gpu/host/supports.hpp"

#include "backends/gpu/host/formats.hpp"

namespace nacelle::gpu {
namespace {

// Bounds of kernels/attention.hpp, kernels/moe.hpp and kernels/recurrent.hpp.
constexpr std::uint32_t kWidestOwnHead = 256, kMostExperts = 256, kMostStateRows = 256, kLongestFilter = 128;

bool packs(nacelle_type type) noexcept { return find_format(type) != nullptr; }

}  // namespace

sdk::OpBounds op_bounds() noexcept {
  return {.packs = packs,
          .widest_head = kWidestHead,
          .widest_own_head = kWidestOwnHead,
          .most_experts = kMostExperts,
          .expert_adapters = true,
          .states = true,
          .most_state_rows = kMostStateRows,
          .rate_each_row = true,
          .longest_filter = kLongestFilter,
          .chunked_attention = true,
          .position_scale = true,
          .xielu = true};
}

}  // namespace nacelle::gpu
