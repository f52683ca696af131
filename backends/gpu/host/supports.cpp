// What the kernels can do.
#include "backends/gpu/host/supports.hpp"

#include "backends/gpu/host/formats.hpp"

namespace nacelle::gpu {
namespace {

// Bounds of kernels/attention.hpp and kernels/moe.hpp.
constexpr std::uint32_t kWidestOwnHead = 256, kMostExperts = 256;

bool packs(nacelle_type type) noexcept { return find_format(type) != nullptr; }

}  // namespace

sdk::OpBounds op_bounds() noexcept {
  return {.packs = packs,
          .widest_head = kWidestHead,
          .widest_own_head = kWidestOwnHead,
          .most_experts = kMostExperts,
          .expert_adapters = true};
}

}  // namespace nacelle::gpu
