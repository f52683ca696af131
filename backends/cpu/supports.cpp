// What the CPU's kernels can do.
#include "backends/cpu/supports.hpp"

#include "backends/cpu/packing.hpp"

namespace nacelle::cpu {

sdk::OpBounds op_bounds() noexcept {
  return {.packs = packable,
          .expert_adapters = true,
          .states = true,
          .rate_each_row = true,
          .chunked_attention = true,
          .position_scale = true,
          .xielu = true};
}

}  // namespace nacelle::cpu
