// The Vulkan loader, one instance, and what its physical devices are.
#pragma once

#include <nacelle/backend.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/vulkan/api.hpp"
#include "backends/vulkan/cooperative_matrix.hpp"

namespace nacelle::vulkan {

// Messages of the validation layer, which runs where NACELLE_VULKAN_VALIDATION=1: a test fails if there is one.
class Validation {
 public:
  explicit Validation(const sdk::Host& host) : host_(host) {}
  // Logs and counts. Any thread.
  void report(std::string_view message) noexcept;
  // Throws sdk::Failure (INTERNAL) with the first message, if there was one.
  void check();
  bool failed() const noexcept { return count_.load(std::memory_order_relaxed) != 0; }

 private:
  sdk::Host host_;
  std::atomic<std::uint32_t> count_ = 0;
  std::mutex mutex_;
  std::string first_;
};

// What is known of a device without opening it.
struct PhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  VkPhysicalDeviceProperties properties{};
  VkPhysicalDeviceVulkan11Properties properties11{};
  VkPhysicalDeviceVulkan12Properties properties12{};
  VkPhysicalDeviceVulkan13Properties properties13{};
  bool has_budget = false;         // VK_EXT_memory_budget
  bool has_int8_products = false;  // shaderIntegerDotProduct; whether in hardware, properties13 says
  MatrixTile matrix;               // of cooperative matrices
  std::string matrix_reason;       // why there are none
  std::uint32_t queue_family = 0;
  std::uint32_t kind = NACELLE_DEVICE_GPU;
  std::uint32_t subgroup = 0;  // the size that all shaders run with
  std::string name, detail;
  std::string reason;  // why it cannot be used; empty: it can
  // Bytes that this process has taken, of all kinds: what is free, where the driver does not say.
  std::shared_ptr<std::atomic<std::uint64_t>> taken = std::make_shared<std::atomic<std::uint64_t>>(0);

  // The memory that weights and caches are put in: a heap of the device's own where it has one.
  bool shares_host_memory() const { return kind != NACELLE_DEVICE_GPU; }
};

class Instance {
 public:
  // Throws sdk::Failure (UNAVAILABLE) that says what is missing: the library, a driver, a version.
  explicit Instance(const sdk::Host& host);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const InstanceFunctions& api() const { return api_; }
  const std::vector<PhysicalDevice>& devices() const { return devices_; }
  Validation& validation() { return validation_; }

  struct MemorySize {
    std::uint64_t total, free;
  };
  MemorySize memory(const PhysicalDevice& device) const;

 private:
  void open_library();
  void create(bool validate);
  void list_devices();
  PhysicalDevice describe(VkPhysicalDevice handle) const;

  sdk::Host host_;
  Validation validation_;
  void* library_ = nullptr;
  PFN_vkGetInstanceProcAddr get_ = nullptr;
  GlobalFunctions global_;
  InstanceFunctions api_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  std::vector<PhysicalDevice> devices_;
};

}  // namespace nacelle::vulkan
