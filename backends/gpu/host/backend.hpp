// The backend of any GPU runtime: devices and what is opened on them. A vendor's plugin derives a class that makes its
// runtime, and names itself with NACELLE_BACKEND_PLUGIN.
#pragma once

#include <memory>
#include <nacelle/backend.hpp>
#include <string>
#include <vector>

#include "backends/gpu/host/runtime.hpp"

namespace nacelle::gpu {

class GpuBackend : public sdk::Backend {
 public:
  GpuBackend(const sdk::Host& host, std::unique_ptr<Runtime> runtime);
  ~GpuBackend() override;

  bool hardware_present() const noexcept override { return runtime_->hardware_present(); }
  std::uint32_t device_count(std::string_view& reason) override;
  nacelle_device_info device_info(std::uint32_t index) override;
  std::unique_ptr<sdk::Device> open(std::uint32_t index) override;

 private:
  std::uint32_t count();  // opens the driver at the first call
  void check(std::uint32_t index);

  sdk::Host host_;
  std::unique_ptr<Runtime> runtime_;
  bool counted_ = false;
  std::uint32_t count_ = 0;
  std::string reason_;
  std::vector<DeviceProperties> properties_;  // strings of device_info stay here
};

}  // namespace nacelle::gpu
