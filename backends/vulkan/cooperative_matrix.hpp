// VK_KHR_cooperative_matrix: whether a device has it in a shape that shaders/matmul_matrix.comp can use. Debian 12's
// headers do not know it, so what is needed of them stands here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/vulkan/api.hpp"

namespace nacelle::vulkan {

inline constexpr const char* kCooperativeMatrix = "VK_KHR_cooperative_matrix";

// Source: the Vulkan registry, VkPhysicalDeviceCooperativeMatrixFeaturesKHR.
struct MatrixFeatures {
  VkStructureType type = static_cast<VkStructureType>(1000506000);
  void* next = nullptr;
  VkBool32 cooperative_matrix = VK_FALSE, robust_buffer_access = VK_FALSE;
};

// f16 [m, k] times f16 [k, n] into f32 by one subgroup.
struct MatrixTile {
  std::uint32_t m = 0, n = 0, k = 0;  // 0: none
  std::uint32_t of_subgroup = 0;      // tiles of a workgroup's 64 x 64 that a subgroup makes
};
constexpr std::uint32_t kMatrixThreads = 128, kMatrixSide = 64;  // as the shader has them

// The first shape that fits, or none with the reason. `functions` finds functions of the instance.
MatrixTile find_matrix_tile(PFN_vkGetInstanceProcAddr functions, const InstanceFunctions& api, VkInstance instance,
                            VkPhysicalDevice device, const std::vector<VkExtensionProperties>& extensions,
                            const VkPhysicalDeviceProperties& properties,
                            const VkPhysicalDeviceVulkan12Features& features12, std::uint32_t subgroup,
                            std::string& reason);

}  // namespace nacelle::vulkan
