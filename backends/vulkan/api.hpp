// The functions of Vulkan that this backend calls, found at run time: nothing links libvulkan, so that the plugin loads
// on a machine without it.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include <nacelle/plugin.hpp>
#include <string>

namespace nacelle::vulkan {

// clang-format off
#define NACELLE_VULKAN_GLOBAL_FUNCTIONS(F) \
  F(vkEnumerateInstanceVersion) F(vkEnumerateInstanceLayerProperties) F(vkCreateInstance)
#define NACELLE_VULKAN_INSTANCE_FUNCTIONS(F) \
  F(vkDestroyInstance) F(vkEnumeratePhysicalDevices) F(vkGetPhysicalDeviceProperties2) F(vkGetPhysicalDeviceFeatures2) \
  F(vkGetPhysicalDeviceMemoryProperties2) F(vkGetPhysicalDeviceQueueFamilyProperties) \
  F(vkEnumerateDeviceExtensionProperties) F(vkCreateDevice) F(vkGetDeviceProcAddr)
#define NACELLE_VULKAN_DEVICE_FUNCTIONS(F) \
  F(vkDestroyDevice) F(vkGetDeviceQueue) F(vkQueueSubmit) F(vkDeviceWaitIdle) \
  F(vkAllocateMemory) F(vkFreeMemory) F(vkMapMemory) F(vkCreateBuffer) F(vkDestroyBuffer) F(vkBindBufferMemory) \
  F(vkGetBufferMemoryRequirements) F(vkGetBufferDeviceAddress) \
  F(vkCreateShaderModule) F(vkDestroyShaderModule) F(vkCreatePipelineLayout) F(vkDestroyPipelineLayout) \
  F(vkCreateComputePipelines) F(vkDestroyPipeline) F(vkCreatePipelineCache) F(vkDestroyPipelineCache) \
  F(vkGetPipelineCacheData) \
  F(vkCreateCommandPool) F(vkDestroyCommandPool) F(vkAllocateCommandBuffers) F(vkFreeCommandBuffers) \
  F(vkBeginCommandBuffer) F(vkEndCommandBuffer) F(vkCmdBindPipeline) F(vkCmdPushConstants) F(vkCmdDispatchIndirect) \
  F(vkCmdPipelineBarrier) F(vkCmdCopyBuffer) \
  F(vkCreateSemaphore) F(vkDestroySemaphore) F(vkWaitSemaphores) F(vkGetSemaphoreCounterValue)
// clang-format on

#define NACELLE_VULKAN_POINTER(name) PFN_##name name = nullptr;
struct GlobalFunctions {
  NACELLE_VULKAN_GLOBAL_FUNCTIONS(NACELLE_VULKAN_POINTER)
};
struct InstanceFunctions {
  NACELLE_VULKAN_INSTANCE_FUNCTIONS(NACELLE_VULKAN_POINTER)
};
struct DeviceFunctions {
  NACELLE_VULKAN_DEVICE_FUNCTIONS(NACELLE_VULKAN_POINTER)
};
#undef NACELLE_VULKAN_POINTER

// A Vulkan struct with its type set and all else zero.
template <class T>
T vk(VkStructureType type) {
  T value{};
  value.sType = type;
  return value;
}

// "VK_ERROR_DEVICE_LOST", or the number.
std::string result_name(VkResult result);
nacelle_status status_of(VkResult result) noexcept;
// Throws sdk::Failure: "vulkan: WHAT failed: VK_...".
void check(VkResult result, const char* what);

}  // namespace nacelle::vulkan
