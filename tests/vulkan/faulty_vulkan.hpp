// A libvulkan.so.1 that stands before the real one and does what the test says goes wrong.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include <atomic>
#include <cstdint>

namespace nacelle::test {

struct Faults {
  std::atomic<std::uint32_t> submits_left{~0u};  // until the device is lost, for good
  std::uint64_t memory = ~std::uint64_t{0};      // bytes that may be allocated in all
  std::uint32_t api_version = 0;                 // of every device, where not 0
  const char* hidden = nullptr;                  // a function that the driver does not have
  bool (*refuses)(const VkComputePipelineCreateInfo&) = nullptr;
  // Seen: pipelines refused, and bytes that the latest pipeline cache was made from.
  std::atomic<std::uint32_t> refused{0};
  std::atomic<std::size_t> cache_bytes{0};
};

// Exported by the library under this name.
using FaultyVulkan = Faults* (*)();
inline constexpr const char* kFaultyVulkan = "nacelle_faulty_vulkan";

}  // namespace nacelle::test
