// Opening libvulkan.so.1 and looking at what it offers.
#include "backends/vulkan/instance.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kVersion = VK_API_VERSION_1_3;
constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

std::string version_text(std::uint32_t version) {
  return std::to_string(VK_API_VERSION_MAJOR(version)) + "." + std::to_string(VK_API_VERSION_MINOR(version));
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value && std::strcmp(value, "0") != 0;
}

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data, void* validation) {
  static_cast<Validation*>(validation)->report(data->pMessage ? data->pMessage : "a message without text");
  return VK_FALSE;
}

VkDebugUtilsMessengerCreateInfoEXT messenger_info(Validation& validation) {
  auto info = vk<VkDebugUtilsMessengerCreateInfoEXT>(VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT);
  info.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  info.pfnUserCallback = on_message;
  info.pUserData = &validation;
  return info;
}

std::uint32_t kind_of(VkPhysicalDeviceType type) {
  if (type == VK_PHYSICAL_DEVICE_TYPE_CPU) return NACELLE_DEVICE_EMULATED;
  return type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ? NACELLE_DEVICE_INTEGRATED_GPU : NACELLE_DEVICE_GPU;
}

// 32 where the device can: a panel of weights is as wide. Shaders are written for any size up to 64.
std::uint32_t choose_subgroup(std::uint32_t smallest, std::uint32_t largest) {
  return std::clamp(32u, smallest, largest);
}

// What the shaders and plans rely on beyond what Vulkan 1.3 promises.
std::string missing_features(const VkPhysicalDeviceFeatures2& features,
                             const VkPhysicalDeviceVulkan12Features& features12, const PhysicalDevice& device) {
  constexpr VkSubgroupFeatureFlags kNeeded =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
  std::string missing;
  const auto need = [&](bool has, const char* what) {
    if (!has) missing += (missing.empty() ? "" : ", ") + std::string(what);
  };
  need(features.features.shaderInt64, "64-bit integers in shaders");
  need(features12.bufferDeviceAddress, "buffer device addresses");
  need(features12.timelineSemaphore, "timeline semaphores");
  need(features12.subgroupBroadcastDynamicId, "subgroup broadcast by a dynamic index");
  need((device.properties11.subgroupSupportedOperations & kNeeded) == kNeeded, "subgroup ballot and arithmetic");
  need(device.properties13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT, "a chosen subgroup size");
  need(device.properties13.minSubgroupSize <= 64, "subgroups of at most 64");
  return missing;
}

std::uint64_t available_host_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (std::uint64_t kib; file >> key >> kib; std::getline(file, unit))
    if (key == "MemAvailable:") return kib * 1024;
  return ~std::uint64_t{0};
}

}  // namespace

// ---- Results

std::string result_name(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_ERROR_INVALID_SHADER_NV: return "VK_ERROR_INVALID_SHADER_NV";
    default: return "VkResult " + std::to_string(result);
  }
}

nacelle_status status_of(VkResult result) noexcept {
  switch (result) {
    case VK_SUCCESS: return NACELLE_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return NACELLE_OUT_OF_MEMORY;
    case VK_ERROR_DEVICE_LOST: return NACELLE_DEVICE_LOST;
    case VK_ERROR_INCOMPATIBLE_DRIVER:
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT: return NACELLE_UNAVAILABLE;
    default: return NACELLE_INTERNAL;
  }
}

void check(VkResult result, const char* what) {
  if (result < 0)
    throw sdk::Failure(status_of(result), "vulkan: " + std::string(what) + " failed: " + result_name(result));
}

// ---- Validation

void Validation::report(std::string_view message) noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    if (count_.fetch_add(1, std::memory_order_relaxed) == 0) first_ = message.substr(0, message.find('\n'));
    host_.log(NACELLE_LOG_ERROR, "validation layer: " + std::string(message));
  } catch (...) {  // out of memory: the count is enough
  }
}

void Validation::check() {
  if (!failed()) return;
  const std::scoped_lock lock(mutex_);
  throw sdk::Failure(NACELLE_INTERNAL, "vulkan: the validation layer reported " + std::to_string(count_.load()) +
                                           " messages, the first: " + first_);
}

// ---- Instance

Instance::Instance(const sdk::Host& host) : host_(host), validation_(host) {
  try {
    open_library();
    create(is_set("NACELLE_VULKAN_VALIDATION"));
    list_devices();
  } catch (...) {
    if (instance_ && api_.vkDestroyInstance) api_.vkDestroyInstance(instance_, nullptr);
    throw;  // the library stays: some drivers do not survive being unloaded
  }
}

Instance::~Instance() {
  if (messenger_) {
    const auto destroy =
        reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(get_(instance_, "vkDestroyDebugUtilsMessengerEXT"));
    if (destroy) destroy(instance_, messenger_, nullptr);
  }
  api_.vkDestroyInstance(instance_, nullptr);
}

void Instance::open_library() {
  library_ = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library_)
    throw sdk::Failure(
        NACELLE_UNAVAILABLE,
        "no Vulkan on this machine: libvulkan.so.1 cannot be opened (Debian: libvulkan1, and the driver)");
  get_ = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library_, "vkGetInstanceProcAddr"));
  if (!get_) throw sdk::Failure(NACELLE_UNAVAILABLE, "libvulkan.so.1 has no vkGetInstanceProcAddr");
#define NACELLE_VULKAN_LOAD(name)                                    \
  global_.name = reinterpret_cast<PFN_##name>(get_(nullptr, #name)); \
  if (!global_.name) throw sdk::Failure(NACELLE_UNAVAILABLE, "libvulkan.so.1 is too old: it has no " #name);
  NACELLE_VULKAN_GLOBAL_FUNCTIONS(NACELLE_VULKAN_LOAD)
#undef NACELLE_VULKAN_LOAD
  std::uint32_t version = 0;
  check(global_.vkEnumerateInstanceVersion(&version), "asking for the loader's version");
  if (version < kVersion)
    throw sdk::Failure(NACELLE_UNAVAILABLE, "libvulkan.so.1 is of Vulkan " + version_text(version) + "; " +
                                                version_text(kVersion) + " is needed");
}

void Instance::create(bool validate) {
  auto application = vk<VkApplicationInfo>(VK_STRUCTURE_TYPE_APPLICATION_INFO);
  application.pApplicationName = application.pEngineName = "nacelle";
  application.apiVersion = kVersion;
  auto info = vk<VkInstanceCreateInfo>(VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
  info.pApplicationInfo = &application;
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  const VkValidationFeatureEnableEXT synchronization = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  auto features = vk<VkValidationFeaturesEXT>(VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT);
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = &synchronization;
  auto messages = messenger_info(validation_);  // of creating and destroying the instance itself
  features.pNext = &messages;
  if (validate) {
    info.enabledLayerCount = info.enabledExtensionCount = 1;
    info.ppEnabledLayerNames = &kValidationLayer;
    info.ppEnabledExtensionNames = &extension;
    info.pNext = &features;
  }
  const VkResult result = global_.vkCreateInstance(&info, nullptr, &instance_);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    throw sdk::Failure(NACELLE_UNAVAILABLE,
                       "no Vulkan driver is installed (Debian: mesa-vulkan-drivers, or the vendor's)");
  check(result, validate ? "creating an instance with the validation layer (Debian: vulkan-validationlayers)"
                         : "creating an instance");
#define NACELLE_VULKAN_LOAD(name)                                          \
  if (!(api_.name = reinterpret_cast<PFN_##name>(get_(instance_, #name)))) \
    throw sdk::Failure(NACELLE_UNAVAILABLE, "the Vulkan loader has no " #name);
  NACELLE_VULKAN_INSTANCE_FUNCTIONS(NACELLE_VULKAN_LOAD)
#undef NACELLE_VULKAN_LOAD
  if (!validate) return;
  const auto create_messenger =
      reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(get_(instance_, "vkCreateDebugUtilsMessengerEXT"));
  const auto own = messenger_info(validation_);
  if (create_messenger)
    check(create_messenger(instance_, &own, nullptr, &messenger_), "listening to the validation layer");
}

void Instance::list_devices() {
  std::uint32_t count = 0;
  check(api_.vkEnumeratePhysicalDevices(instance_, &count, nullptr), "listing the devices");
  std::vector<VkPhysicalDevice> handles(count);
  check(api_.vkEnumeratePhysicalDevices(instance_, &count, handles.data()), "listing the devices");
  handles.resize(count);
  for (VkPhysicalDevice handle : handles) devices_.push_back(describe(handle));
  if (devices_.empty())
    throw sdk::Failure(NACELLE_UNAVAILABLE,
                       "Vulkan lists no device (Debian: mesa-vulkan-drivers, or the vendor's driver)");
}

PhysicalDevice Instance::describe(VkPhysicalDevice handle) const {
  PhysicalDevice device;
  device.handle = handle;
  auto properties = vk<VkPhysicalDeviceProperties2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2);
  api_.vkGetPhysicalDeviceProperties2(handle, &properties);
  device.properties = properties.properties;
  device.name = device.properties.deviceName;
  device.kind = kind_of(device.properties.deviceType);
  device.detail = "Vulkan " + version_text(device.properties.apiVersion);
  if (device.properties.apiVersion < kVersion) {
    device.reason = "the driver is of Vulkan " + version_text(device.properties.apiVersion) + "; " +
                    version_text(kVersion) + " is needed: update it";
    return device;
  }
  device.properties11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  device.properties12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  device.properties13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES;
  properties.pNext = &device.properties11;
  device.properties11.pNext = &device.properties12;
  device.properties12.pNext = &device.properties13;
  api_.vkGetPhysicalDeviceProperties2(handle, &properties);
  device.properties11.pNext = device.properties12.pNext = nullptr;

  auto features = vk<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  auto features12 = vk<VkPhysicalDeviceVulkan12Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
  auto features13 = vk<VkPhysicalDeviceVulkan13Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES);
  features.pNext = &features12;
  features12.pNext = &features13;
  api_.vkGetPhysicalDeviceFeatures2(handle, &features);
  device.has_int8_products = features13.shaderIntegerDotProduct;
  device.subgroup = choose_subgroup(device.properties13.minSubgroupSize, device.properties13.maxSubgroupSize);
  device.detail += std::string(", ") + device.properties12.driverName + " " + device.properties12.driverInfo +
                   ", subgroups of " + std::to_string(device.subgroup);
  const std::string missing = missing_features(features, features12, device);
  if (!missing.empty()) device.reason = "the driver lacks " + missing;

  std::uint32_t count = 0;
  api_.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  api_.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, families.data());
  const auto computes = [](const VkQueueFamilyProperties& family) { return family.queueFlags & VK_QUEUE_COMPUTE_BIT; };
  device.queue_family =
      static_cast<std::uint32_t>(std::find_if(families.begin(), families.end(), computes) - families.begin());
  if (device.queue_family == count) device.reason = "the device has no compute queue";

  api_.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  api_.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, extensions.data());
  device.matrix = find_matrix_tile(get_, api_, instance_, handle, extensions, device.properties, features12,
                                   device.subgroup, device.matrix_reason);
  for (const VkExtensionProperties& extension : extensions)
    device.has_budget |= std::strcmp(extension.extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) == 0;
  return device;
}

Instance::MemorySize Instance::memory(const PhysicalDevice& device) const {
  auto properties = vk<VkPhysicalDeviceMemoryProperties2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2);
  auto budget =
      vk<VkPhysicalDeviceMemoryBudgetPropertiesEXT>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
  if (device.has_budget) properties.pNext = &budget;
  api_.vkGetPhysicalDeviceMemoryProperties2(device.handle, &properties);
  MemorySize size{0, 0};
  for (std::uint32_t i = 0; i < properties.memoryProperties.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = properties.memoryProperties.memoryHeaps[i];
    if (!(heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || heap.size <= size.total) continue;
    const std::uint64_t used = std::min(budget.heapUsage[i], budget.heapBudget[i]);
    size = {heap.size,
            device.has_budget ? budget.heapBudget[i] - used : heap.size - std::min(heap.size, device.taken->load())};
  }
  if (device.kind != NACELLE_DEVICE_EMULATED) return size;
  const std::uint64_t limit = std::strtoull(host_.config("host.memory_limit").value_or("0").c_str(), nullptr, 10);
  if (limit) size.total = std::min(size.total, limit);
  size.free = std::min({size.free, size.total, available_host_memory()});
  return size;
}

}  // namespace nacelle::vulkan
