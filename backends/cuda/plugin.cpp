// The CUDA backend: NVIDIA GPUs from compute capability 8.0 (7.5 by a build option).
#include <cuda_runtime_api.h>

#include <algorithm>
#include <nacelle/device_nodes.hpp>

#include "backends/cuda/api.hpp"
#include "backends/gpu/host/backend.hpp"
#include "backends/gpu/host/vendor_runtime.hpp"

namespace nacelle::gpu {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The oldest driver that runs a toolkit's programs. Source: CUDA Toolkit Release Notes, "CUDA Toolkit and Minimum
// Required Driver Version for CUDA Minor Version Compatibility".
const char* needed_driver() { return CUDART_VERSION >= 13000 ? "580" : CUDART_VERSION >= 12000 ? "525" : "450"; }

class CudaRuntime final : public Runtime {
 public:
  const char* name() const override { return "cuda"; }

  bool hardware_present() const noexcept override {
    return sdk::device_node_exists({"/dev/nvidia", "/dev/nvhost-gpu", "/dev/dxg"});
  }

  std::uint32_t device_count(std::string& reason) override {
    int driver = 0, count = 0;
    cudaDriverGetVersion(&driver);
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return static_cast<std::uint32_t>(count);
    const std::string needs = "this plugin was built with CUDA " + version_text(CUDART_VERSION) +
                              ", which needs the NVIDIA driver " + needed_driver() + " or later";
    if (driver == 0)
      reason = "no NVIDIA driver (libcuda.so.1) on this machine; " + needs;
    else if (error == cudaErrorInsufficientDriver)
      reason = "the NVIDIA driver is too old: it supports CUDA " + version_text(driver) + "; " + needs;
    else if (error == cudaSuccess || error == cudaErrorNoDevice)
      reason = "the NVIDIA driver reports no device";
    else
      reason = std::string("the NVIDIA driver reports: ") + cudaGetErrorString(error);
    return 0;
  }

  DeviceProperties properties(std::uint32_t index) override {
    DeviceProperties of;
    cudaDeviceProp found{};
    if (const cudaError_t error = cudaGetDeviceProperties(&found, static_cast<int>(index)); error != cudaSuccess) {
      of.name = "CUDA device " + std::to_string(index);
      of.reason = cudaGetErrorString(error);
      return of;
    }
    int driver = 0;
    cudaDriverGetVersion(&driver);
    const int capability = found.major * 10 + found.minor;
    of.name = found.name;
    of.detail = "compute capability " + std::to_string(found.major) + "." + std::to_string(found.minor) + ", " +
                std::to_string(found.multiProcessorCount) + " multiprocessors, driver for CUDA " + version_text(driver);
    of.integrated = found.integrated != 0;
    of.tensor = capability >= 80;
    of.memory_total = found.totalGlobalMem;
    of.usable = capability >= NACELLE_CUDA_LOWEST;
    if (!of.usable) {
      of.reason = "its compute capability is below " + std::to_string(NACELLE_CUDA_LOWEST / 10) + "." +
                  std::to_string(NACELLE_CUDA_LOWEST % 10) + ", the lowest that this plugin was built for " +
                  "(NACELLE_CUDA_ARCHITECTURES)";
      return of;
    }
    std::size_t free = 0, total = 0;
    if (cudaSetDevice(static_cast<int>(index)) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess)
      of.memory_free = free;
    return of;
  }

  std::unique_ptr<Context> open(std::uint32_t index) override {
    return std::make_unique<VendorContext<CudaApi>>(std::make_shared<CudaApi>(), name(), static_cast<int>(index));
  }
};

class CudaBackend final : public GpuBackend {
 public:
  explicit CudaBackend(const sdk::Host& host) : GpuBackend(host, std::make_unique<CudaRuntime>()) {}
};

}  // namespace
}  // namespace nacelle::gpu

NACELLE_BACKEND_PLUGIN(nacelle::gpu::CudaBackend, "cuda", "0.1")
