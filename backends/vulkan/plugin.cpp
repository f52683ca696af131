// The Vulkan backend as a plugin. The loader and the drivers are opened when somebody asks for devices, a device only
// when it is named or chosen.
#include <memory>
#include <nacelle/backend.hpp>
#include <nacelle/device_nodes.hpp>
#include <optional>

#include "backends/vulkan/device.hpp"
#include "backends/vulkan/instance.hpp"

namespace nacelle::vulkan {
namespace {

class VulkanBackend final : public sdk::Backend {
 public:
  explicit VulkanBackend(const sdk::Host& host) : host_(host) {}

  // Software drivers alone are no reason to open them: their devices run only where they are named.
  bool hardware_present() const noexcept override {
    return sdk::device_node_exists({"/dev/dri/renderD", "/dev/nvidia", "/dev/dxg", "/dev/mali", "/dev/kgsl-3d0"});
  }

  std::uint32_t device_count(std::string_view& reason) override {
    if (!open_instance()) {
      reason = reason_;
      return 0;
    }
    return static_cast<std::uint32_t>(instance_->devices().size());
  }

  nacelle_device_info device_info(std::uint32_t index) override {
    const PhysicalDevice& device = at(index);
    const Instance::MemorySize memory = instance_->memory(device);
    auto info = sdk::make<nacelle_device_info>();
    info.kind = device.kind;
    info.usable = device.reason.empty();
    info.name = sdk::view(device.name);
    info.detail = sdk::view(device.detail);
    info.reason = sdk::view(device.reason);
    info.memory_total = memory.total;
    info.memory_free = memory.free;
    info.block_tokens = 32;
    info.max_rows = 65535;  // workgroups in y that every device takes
    return info;
  }

  std::unique_ptr<sdk::Device> open(std::uint32_t index) override {
    const PhysicalDevice& device = at(index);
    if (!device.reason.empty()) throw sdk::Failure(NACELLE_UNAVAILABLE, device.name + ": " + device.reason);
    return std::make_unique<VulkanDevice>(host_, *instance_, device);
  }

 private:
  // Once: a machine does not come by a driver while the process runs.
  bool open_instance() {
    if (instance_ || !reason_.empty()) return instance_ != nullptr;
    try {
      instance_ = std::make_unique<Instance>(host_);
    } catch (const sdk::Failure& failure) {
      reason_ = failure.what();
    }
    return instance_ != nullptr;
  }
  const PhysicalDevice& at(std::uint32_t index) {
    if (!open_instance()) throw sdk::Failure(NACELLE_UNAVAILABLE, reason_);
    if (index >= instance_->devices().size())
      throw sdk::Failure(NACELLE_NOT_FOUND, "Vulkan lists " + std::to_string(instance_->devices().size()) + " devices");
    return instance_->devices()[index];
  }

  sdk::Host host_;
  std::unique_ptr<Instance> instance_;
  std::string reason_;
};

}  // namespace
}  // namespace nacelle::vulkan

NACELLE_BACKEND_PLUGIN(nacelle::vulkan::VulkanBackend, "vulkan", "0.1")
