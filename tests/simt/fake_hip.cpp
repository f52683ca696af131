// libamdhip64 for tests: the functions that backends/rocm opens, over the emulator. So the ROCm plugin runs as it
// ships, its code object included, on a machine without an AMD GPU. Stricter than the library where that finds faults:
// a copy must go where its direction says, a launch must keep the limits of a grid, a kernel must be in the code
// object. Settings, of the environment: NACELLE_FAKE_HIP_ARCHITECTURE (gfx90a), _DEVICES (1), _MEMORY (bytes),
// _LOSE_AFTER (submissions until the device is lost), _REFUSES (a kernel that cannot be loaded). Compiled with
// NACELLE_FAKE_HIP_OLD it lacks a function, as an older one would.
#define __HIP_PLATFORM_AMD__ 1
#define __HIP_DISABLE_CPP_FUNCTIONS__ 1
#include <hip/hip_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "backends/gpu/host/runtime.hpp"
#include "tests/simt/emulated_kernels.hpp"
#include "tests/simt/emulator.hpp"

using Work = std::function<hipError_t()>;
struct ihipStream_t {
  bool capturing = false;
  std::vector<Work> recorded;
};
struct ihipGraph {
  std::vector<Work> work;
};
struct hipGraphExec {
  std::vector<Work> work;
};
struct ihipEvent_t {};
struct ihipModule_t {
  std::string_view code;
};

namespace {

using nacelle::gpu::Kernel;

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// The one device. Everything is done when a call returns.
struct Device {
  std::mutex mutex;
  std::map<const std::byte*, std::size_t> memory;  // sizes of what is on the device
  std::uint64_t total = number("NACELLE_FAKE_HIP_MEMORY", 4ull << 30), used = 0;
  std::uint64_t left = number("NACELLE_FAKE_HIP_LOSE_AFTER", ~0ull), launches = 0;

  bool holds(const void* at, std::size_t bytes) {
    const std::lock_guard lock(mutex);
    const auto* begin = static_cast<const std::byte*>(at);
    auto after = memory.upper_bound(begin);
    if (after == memory.begin()) return false;
    const auto& [start, size] = *--after;
    return begin + bytes <= start + size;
  }
  hipError_t submit(hipStream_t stream, Work work) {
    if (stream->capturing) return stream->recorded.push_back(std::move(work)), hipSuccess;
    if (left == 0) return hipErrorLaunchFailure;
    --left;
    return work();
  }
};
Device& device() {
  static Device of;
  return of;
}

// An uncompressed bundle of code objects: its last byte is the end of the entry that reaches furthest.
std::string_view bundle(const void* image) {
  constexpr std::string_view kMagic = "__CLANG_OFFLOAD_BUNDLE__";
  const auto* begin = static_cast<const char*>(image);
  if (std::string_view(begin, kMagic.size()) != kMagic) return {};
  const auto read = [&](std::size_t at) {
    std::uint64_t value;
    std::memcpy(&value, begin + at, sizeof value);
    return value;
  };
  std::size_t at = kMagic.size() + 8, end = 0;
  for (std::uint64_t entries = read(kMagic.size()); entries; --entries) {
    end = std::max<std::size_t>(end, read(at) + read(at + 8));
    at += 24 + read(at + 16);
  }
  return {begin, end};
}

hipError_t copy(void* to, std::size_t to_stride, const void* from, std::size_t from_stride, std::size_t bytes,
                std::size_t rows, hipMemcpyKind kind, hipStream_t stream) {
  const bool to_device = device().holds(to, (rows - 1) * to_stride + bytes);
  const bool from_device = device().holds(from, (rows - 1) * from_stride + bytes);
  if (to_device != (kind != hipMemcpyDeviceToHost) || from_device != (kind != hipMemcpyHostToDevice))
    return hipErrorInvalidValue;
  return device().submit(stream, [=] {
    for (std::size_t row = 0; row < rows; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_stride, static_cast<const char*>(from) + row * from_stride, bytes);
    return hipSuccess;
  });
}

// NaNs, as f32, where nothing was written.
void* fresh(std::size_t bytes) {
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (memory) std::memset(memory, 0xff, bytes);
  return memory;
}

}  // namespace

extern "C" {

hipError_t hipGetDeviceCount(int* count) {
  return *count = static_cast<int>(number("NACELLE_FAKE_HIP_DEVICES", 1)), hipSuccess;
}
hipError_t hipDriverGetVersion(int* version) { return *version = HIP_VERSION, hipSuccess; }
const char* hipGetErrorString(hipError_t error) {
  return error == hipErrorLaunchFailure ? "unspecified launch failure"
         : error == hipErrorNotFound    ? "named symbol not found"
                                        : "invalid argument";
}
hipError_t hipSetDevice(int index) { return index == 0 ? hipSuccess : hipErrorInvalidDevice; }
hipError_t hipGetDeviceProperties(hipDeviceProp_t* of, int) {
  const char* architecture = std::getenv("NACELLE_FAKE_HIP_ARCHITECTURE");
  *of = {};
  std::strncpy(of->name, "Fake Instinct", sizeof of->name - 1);
  std::strncpy(of->gcnArchName, architecture ? architecture : "gfx90a:sramecc+:xnack-", sizeof of->gcnArchName - 1);
  of->multiProcessorCount = 104;
  of->totalGlobalMem = device().total;
  return hipSuccess;
}
hipError_t hipMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = device().total;
  *free = device().total - device().used;
  return hipSuccess;
}

hipError_t hipMalloc(void** memory, std::size_t bytes) {
  Device& of = device();
  const std::lock_guard lock(of.mutex);
  if (bytes > of.total - of.used || !(*memory = fresh(bytes))) return hipErrorOutOfMemory;
  of.used += bytes;
  of.memory.emplace(static_cast<std::byte*>(*memory), bytes);
  return hipSuccess;
}
hipError_t hipFree(void* memory) {
  Device& of = device();
  const std::lock_guard lock(of.mutex);
  const auto found = of.memory.find(static_cast<std::byte*>(memory));
  if (found == of.memory.end()) return hipErrorInvalidValue;
  of.used -= found->second;
  of.memory.erase(found);
  std::free(memory);
  return hipSuccess;
}
hipError_t hipHostMalloc(void** memory, std::size_t bytes, unsigned) {
  return (*memory = fresh(bytes)) ? hipSuccess : hipErrorOutOfMemory;
}
hipError_t hipHostFree(void* memory) { return std::free(memory), hipSuccess; }

hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned) { return *stream = new ihipStream_t, hipSuccess; }
hipError_t hipStreamDestroy(hipStream_t stream) { return delete stream, hipSuccess; }
hipError_t hipStreamSynchronize(hipStream_t) { return device().left ? hipSuccess : hipErrorLaunchFailure; }
hipError_t hipMemcpyAsync(void* to, const void* from, std::size_t bytes, hipMemcpyKind kind, hipStream_t stream) {
  return copy(to, 0, from, 0, bytes, 1, kind, stream);
}
hipError_t hipMemcpy2DAsync(void* to, std::size_t to_stride, const void* from, std::size_t from_stride,
                            std::size_t bytes, std::size_t rows, hipMemcpyKind kind, hipStream_t stream) {
  return copy(to, to_stride, from, from_stride, bytes, rows, kind, stream);
}

hipError_t hipModuleLoadData(hipModule_t* module, const void* image) {
  const std::string_view code = bundle(image);
  if (code.empty()) return hipErrorInvalidImage;
  *module = new ihipModule_t{code};
  return hipSuccess;
}
hipError_t hipModuleUnload(hipModule_t module) { return delete module, hipSuccess; }
hipError_t hipModuleGetFunction(hipFunction_t* function, hipModule_t module, const char* name) {
  constexpr std::string_view kPrefix = "nacelle_";
  const char* refused = std::getenv("NACELLE_FAKE_HIP_REFUSES");
  if (refused && name == std::string_view(refused)) return hipErrorNotFound;
  if (module->code.find(std::string(name) + ".kd") == std::string_view::npos) return hipErrorNotFound;
  const auto* end = nacelle::gpu::kKernelNames + nacelle::gpu::kKernelCount;
  const auto* found = std::find(nacelle::gpu::kKernelNames, end, std::string_view(name).substr(kPrefix.size()));
  if (found == end) return hipErrorNotFound;
  *function = reinterpret_cast<hipFunction_t>(found - nacelle::gpu::kKernelNames + 1);
  return hipSuccess;
}
hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned x, unsigned y, unsigned z, unsigned threads,
                                 unsigned threads_y, unsigned threads_z, unsigned shared, hipStream_t stream,
                                 void** arguments, void** extra) {
  constexpr unsigned kMostThreads = 256, kMostBlocks = 65535;  // as launch bounds and the grid's y and z have it
  if (!x || !y || !z || !threads || threads > kMostThreads || y > kMostBlocks || z > kMostBlocks || threads_y != 1 ||
      threads_z != 1 || shared || extra)
    return hipErrorInvalidValue;
  nacelle::gpu::Launch launch{
      static_cast<Kernel>(reinterpret_cast<std::uintptr_t>(function) - 1), {x, y, z}, threads, {}};
  std::memcpy(launch.arguments, arguments[0], sizeof launch.arguments);
  return device().submit(stream, [launch] {
    try {
      simt::launch(nacelle::test::emulated_kernel(launch.kernel), launch.arguments,
                   {launch.grid.x, launch.grid.y, launch.grid.z}, {launch.threads, 1, 1}, ++device().launches);
      return hipSuccess;
    } catch (const std::exception&) {
      return hipErrorIllegalAddress;
    }
  });
}

hipError_t hipStreamBeginCapture(hipStream_t stream, hipStreamCaptureMode) {
  return stream->capturing = true, hipSuccess;
}
hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t* graph) {
  stream->capturing = false;
  *graph = new ihipGraph{std::exchange(stream->recorded, {})};
  return hipSuccess;
}
#ifndef NACELLE_FAKE_HIP_OLD
hipError_t hipGraphInstantiate(hipGraphExec_t* executable, hipGraph_t graph, hipGraphNode_t*, char*, std::size_t) {
  return *executable = new hipGraphExec{graph->work}, hipSuccess;
}
#endif
hipError_t hipGraphDestroy(hipGraph_t graph) { return delete graph, hipSuccess; }
hipError_t hipGraphExecDestroy(hipGraphExec_t executable) { return delete executable, hipSuccess; }
hipError_t hipGraphLaunch(hipGraphExec_t executable, hipStream_t stream) {
  return device().submit(stream, [executable] {
    for (const Work& work : executable->work)
      if (const hipError_t error = work(); error != hipSuccess) return error;
    return hipSuccess;
  });
}

hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned) { return *event = new ihipEvent_t, hipSuccess; }
hipError_t hipEventDestroy(hipEvent_t event) { return delete event, hipSuccess; }
hipError_t hipEventRecord(hipEvent_t, hipStream_t) { return hipSuccess; }
hipError_t hipStreamWaitEvent(hipStream_t, hipEvent_t, unsigned) { return hipSuccess; }
hipError_t hipEventQuery(hipEvent_t) { return hipSuccess; }
hipError_t hipEventSynchronize(hipEvent_t) { return device().left ? hipSuccess : hipErrorLaunchFailure; }

}  // extern "C"
