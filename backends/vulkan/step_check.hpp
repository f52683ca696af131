// A step block's rules, checked on the host before the device sees it: shaders use every index without another look.
#pragma once

#include <nacelle/backend.h>

#include <cstddef>
#include <cstdint>

#include "backends/vulkan/cache.hpp"

namespace nacelle::vulkan {

struct StepLimits {
  const nacelle_graph* graph;
  nacelle_bucket bucket;
  const nacelle_step_layout* layout;
  std::uint32_t block_tokens;
  std::uint32_t tokens;     // rows of the embedding table; 0: no token is looked up
  std::uint32_t positions;  // that the rope tables hold
  bool own_attention;       // rows attend to those of their own step
};

// The rule that is broken, as a few words for the log; nullptr where the block is sound. `longest` is set to the most
// tokens of a sequence that a row attends to. Allocates nothing.
const char* find_fault(const StepLimits& limits, const VulkanCache* cache, const std::byte* block,
                       std::uint32_t& longest) noexcept;

}  // namespace nacelle::vulkan
