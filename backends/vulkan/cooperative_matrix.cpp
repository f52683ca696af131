#include "backends/vulkan/cooperative_matrix.hpp"

#include <algorithm>
#include <cstring>

namespace nacelle::vulkan {
namespace {

// Source: the Vulkan registry, VkCooperativeMatrixPropertiesKHR and its enumerators.
struct MatrixProperties {
  VkStructureType type = static_cast<VkStructureType>(1000506001);
  void* next = nullptr;
  std::uint32_t m = 0, n = 0, k = 0;
  std::uint32_t a = 0, b = 0, c = 0, result = 0;  // kinds of components
  VkBool32 saturating = VK_FALSE;
  std::uint32_t scope = 0;
};
constexpr std::uint32_t kFloat16 = 0, kFloat32 = 1, kSubgroupScope = 3;
using GetMatrixProperties = VkResult(VKAPI_PTR*)(VkPhysicalDevice, std::uint32_t*, MatrixProperties*);

constexpr std::uint32_t kSharedBytes = 26624;  // of matmul_matrix.comp

// Tiles of a subgroup, 0 where the shape does not divide the work.
std::uint32_t share_of(const MatrixProperties& of, std::uint32_t subgroup) {
  if (of.a != kFloat16 || of.b != kFloat16 || of.c != kFloat32 || of.result != kFloat32 || of.scope != kSubgroupScope)
    return 0;
  if (!of.m || !of.n || !of.k || kMatrixSide % of.m || kMatrixSide % of.n || 32 % of.k) return 0;
  const std::uint32_t tiles = kMatrixSide / of.m * (kMatrixSide / of.n), subgroups = kMatrixThreads / subgroup;
  return subgroups && tiles % subgroups == 0 ? tiles / subgroups : 0;
}

}  // namespace

MatrixTile find_matrix_tile(PFN_vkGetInstanceProcAddr functions, const InstanceFunctions& api, VkInstance instance,
                            VkPhysicalDevice device, const std::vector<VkExtensionProperties>& extensions,
                            const VkPhysicalDeviceProperties& properties,
                            const VkPhysicalDeviceVulkan12Features& features12, std::uint32_t subgroup,
                            std::string& reason) {
  const bool offered = std::any_of(extensions.begin(), extensions.end(), [](const VkExtensionProperties& of) {
    return std::strcmp(of.extensionName, kCooperativeMatrix) == 0;
  });
  const auto list =
      reinterpret_cast<GetMatrixProperties>(functions(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  MatrixFeatures feature;
  auto features = vk<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  features.pNext = &feature;
  if (offered) api.vkGetPhysicalDeviceFeatures2(device, &features);
  std::uint32_t count = 0;
  if (!feature.cooperative_matrix || !list || list(device, &count, nullptr) != VK_SUCCESS) {
    reason = "the driver has no cooperative matrices (VK_KHR_cooperative_matrix)";
    return {};
  }
  if (!features12.shaderFloat16 || !features12.vulkanMemoryModel ||
      properties.limits.maxComputeSharedMemorySize < kSharedBytes) {
    reason = "the driver lacks f16 arithmetic, Vulkan's memory model or 26 KiB of shared memory";
    return {};
  }
  std::vector<MatrixProperties> shapes(count);
  if (list(device, &count, shapes.data()) < 0) count = 0;
  for (std::uint32_t i = 0; i < count; ++i)
    if (const std::uint32_t share = share_of(shapes[i], subgroup))
      return {shapes[i].m, shapes[i].n, shapes[i].k, share};
  reason = "the device has no cooperative matrices of f16 into f32 in a shape that divides 64 x 64 x 32";
  return {};
}

}  // namespace nacelle::vulkan
