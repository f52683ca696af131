// The ROCm backend: AMD GPUs of the architectures that it was built for.
#include <nacelle/device_nodes.hpp>
#include <sstream>

#include "backends/gpu/host/backend.hpp"
#include "backends/gpu/host/vendor_runtime.hpp"
#include "backends/rocm/api.hpp"

namespace nacelle::gpu {
namespace {

// gcnArchName is "gfx90a:sramecc+:xnack-"; the list is "gfx90a,gfx1030".
bool is_built_for(const std::string& architecture) {
  std::istringstream list(NACELLE_ROCM_ARCHITECTURES);
  for (std::string name; std::getline(list, name, ',');)
    if (name == architecture.substr(0, architecture.find(':'))) return true;
  return false;
}

class HipRuntime final : public Runtime {
 public:
  const char* name() const override { return "rocm"; }

  bool hardware_present() const noexcept override { return sdk::device_node_exists({"/dev/kfd", "/dev/dxg"}); }

  std::uint32_t device_count(std::string& reason) override {
    reason = library_.open();
    if (!reason.empty()) return 0;
    int count = 0;
    const hipError_t error = library_.hipGetDeviceCount(&count);
    if (error == hipSuccess && count > 0) return static_cast<std::uint32_t>(count);
    if (error == hipSuccess || error == hipErrorNoDevice)
      reason = "the HIP runtime finds no AMD GPU: the amdgpu driver (/dev/kfd) is missing, or there is no such device";
    else
      reason = std::string("the HIP runtime reports: ") + library_.hipGetErrorString(error);
    return 0;
  }

  DeviceProperties properties(std::uint32_t index) override {
    DeviceProperties of;
    hipDeviceProp_t found{};
    if (const hipError_t error = library_.hipGetDeviceProperties(&found, static_cast<int>(index));
        error != hipSuccess) {
      of.name = "HIP device " + std::to_string(index);
      of.reason = library_.hipGetErrorString(error);
      return of;
    }
    int driver = 0;
    (void)library_.hipDriverGetVersion(&driver);
    of.name = found.name;
    of.detail = std::string(found.gcnArchName) + ", " + std::to_string(found.multiProcessorCount) +
                " compute units, HIP " + std::to_string(driver / 10000000) + "." +
                std::to_string(driver / 100000 % 100);
    of.integrated = found.integrated != 0;
    of.memory_total = found.totalGlobalMem;
    of.usable = is_built_for(found.gcnArchName);
    if (!of.usable) {
      of.reason = std::string("its architecture ") + found.gcnArchName +
                  " is not among those this plugin was built for (" + NACELLE_ROCM_ARCHITECTURES +
                  "): build with NACELLE_ROCM_ARCHITECTURES";
      return of;
    }
    std::size_t free = 0, total = 0;
    if (library_.hipSetDevice(static_cast<int>(index)) == hipSuccess &&
        library_.hipMemGetInfo(&free, &total) == hipSuccess)
      of.memory_free = free;
    return of;
  }

  std::unique_ptr<Context> open(std::uint32_t index) override {
    return std::make_unique<VendorContext<HipApi>>(std::make_shared<HipApi>(library_), name(), static_cast<int>(index));
  }

 private:
  HipLibrary library_;
};

class RocmBackend final : public GpuBackend {
 public:
  explicit RocmBackend(const sdk::Host& host) : GpuBackend(host, std::make_unique<HipRuntime>()) {}
};

}  // namespace
}  // namespace nacelle::gpu

NACELLE_BACKEND_PLUGIN(nacelle::gpu::RocmBackend, "rocm", "0.1")
