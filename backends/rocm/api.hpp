// The HIP runtime for backends/gpu/host/vendor_runtime.hpp. libamdhip64 is opened at the first call, never linked:
// without it the plugin loads and says so. Kernels come as a code object, so nothing registers itself at load time.
#pragma once

#define __HIP_PLATFORM_AMD__ 1
#define __HIP_DISABLE_CPP_FUNCTIONS__ 1  // overloads, of which no address can be taken
#include <dlfcn.h>
#include <hip/hip_runtime_api.h>
#include <hip/hip_version.h>

#include <string>
#include <vector>

#include "backends/gpu/host/runtime.hpp"

// The code object, in kernels_object.cpp.
extern "C" const unsigned char nacelle_rocm_kernels[];

namespace nacelle::gpu {

// clang-format off
#define NACELLE_HIP_FUNCTIONS(FUNCTION)                                                                       \
  FUNCTION(hipGetDeviceCount) FUNCTION(hipDriverGetVersion) FUNCTION(hipGetErrorString) FUNCTION(hipSetDevice)   \
  FUNCTION(hipMalloc) FUNCTION(hipFree) FUNCTION(hipHostMalloc) FUNCTION(hipHostFree) FUNCTION(hipMemGetInfo)    \
  FUNCTION(hipStreamCreateWithFlags) FUNCTION(hipStreamDestroy) FUNCTION(hipStreamSynchronize)                   \
  FUNCTION(hipMemcpyAsync) FUNCTION(hipMemcpy2DAsync) FUNCTION(hipModuleLoadData) FUNCTION(hipModuleGetFunction) \
  FUNCTION(hipModuleUnload) FUNCTION(hipModuleLaunchKernel) FUNCTION(hipStreamBeginCapture)                      \
  FUNCTION(hipStreamEndCapture) FUNCTION(hipGraphInstantiate) FUNCTION(hipGraphDestroy)                          \
  FUNCTION(hipGraphExecDestroy) FUNCTION(hipGraphLaunch) FUNCTION(hipEventCreateWithFlags)                       \
  FUNCTION(hipEventDestroy) FUNCTION(hipEventRecord) FUNCTION(hipStreamWaitEvent) FUNCTION(hipEventQuery)        \
  FUNCTION(hipEventSynchronize) FUNCTION(hipGetDeviceProperties)
// clang-format on

#define NACELLE_HIP_TEXT(name) #name
#define NACELLE_HIP_LIBRARY(major) "libamdhip64.so." NACELLE_HIP_TEXT(major)

struct HipLibrary {
#define NACELLE_HIP_MEMBER(name) decltype(&::name) name = nullptr;
  NACELLE_HIP_FUNCTIONS(NACELLE_HIP_MEMBER)
#undef NACELLE_HIP_MEMBER

  // Empty, or why it cannot be used.
  std::string open() {
    if (handle_) return reason_;
    for (const char* file :
         {NACELLE_HIP_LIBRARY(HIP_VERSION_MAJOR), "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"})
      if ((handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL))) break;
    const std::string needs = "; this plugin was built with HIP " + std::to_string(HIP_VERSION_MAJOR) + "." +
                              std::to_string(HIP_VERSION_MINOR) + ": install that ROCm or a later one";
    if (!handle_) return "libamdhip64.so is not on this machine" + needs;
      // HIP 6 names a function whose struct has grown anew, by a macro (hipGetDevicePropertiesR0600): the symbol to ask
      // for is the expanded one, whose struct the headers declare.
#define NACELLE_HIP_LOAD(function)                                                             \
  function = reinterpret_cast<decltype(function)>(dlsym(handle_, NACELLE_HIP_TEXT(function))); \
  if (!function) reason_ = "libamdhip64.so has no " NACELLE_HIP_TEXT(function) + needs;
    NACELLE_HIP_FUNCTIONS(NACELLE_HIP_LOAD)
#undef NACELLE_HIP_LOAD
    return reason_;
  }

 private:
  void* handle_ = nullptr;  // never closed: the library has threads of its own
  std::string reason_;
};

struct HipApi {
  using Error = hipError_t;
  using Stream = hipStream_t;
  using Graph = hipGraph_t;
  using GraphExec = hipGraphExec_t;
  using Event = hipEvent_t;

  explicit HipApi(const HipLibrary& library) : hip(library) {}
  ~HipApi() {
    if (module) (void)hip.hipModuleUnload(module);
  }
  HipApi(const HipApi&) = delete;
  HipApi& operator=(const HipApi&) = delete;

  const char* name_of(Error error) const { return hip.hipGetErrorString(error); }
  bool is_memory(Error error) const { return error == hipErrorOutOfMemory; }
  bool is_pending(Error error) const { return error == hipErrorNotReady; }
  // After these nothing works on the device until the process ends.
  bool is_lost(Error error) const {
    switch (error) {
      case hipErrorIllegalAddress:
      case hipErrorLaunchFailure:
      case hipErrorLaunchTimeOut:
      case hipErrorECCNotCorrectable:
      case hipErrorContextIsDestroyed:
      case hipErrorDeinitialized: return true;
      default: return false;
    }
  }

  static const BlasDialect& blas_dialect() { return kHipblasLt; }

  Error set_device(int index) { return hip.hipSetDevice(index); }
  Error prepare_kernels(int) {
    Error error = hip.hipModuleLoadData(&module, nacelle_rocm_kernels);
    for (std::uint32_t i = 0; i < kKernelCount && error == hipSuccess; ++i)
      error = hip.hipModuleGetFunction(&functions[i], module, (std::string("nacelle_") + kKernelNames[i]).c_str());
    return error;
  }
  Error malloc(void** memory, std::size_t bytes) { return hip.hipMalloc(memory, bytes); }
  void free(void* memory) { (void)hip.hipFree(memory); }
  Error malloc_host(void** memory, std::size_t bytes) {
    return hip.hipHostMalloc(memory, bytes, hipHostMallocPortable);
  }
  void free_host(void* memory) { (void)hip.hipHostFree(memory); }
  Error mem_info(std::size_t* free_bytes, std::size_t* total) { return hip.hipMemGetInfo(free_bytes, total); }

  Error stream_create(Stream* stream) { return hip.hipStreamCreateWithFlags(stream, hipStreamNonBlocking); }
  void stream_destroy(Stream stream) { (void)hip.hipStreamDestroy(stream); }
  Error stream_synchronize(Stream stream) { return hip.hipStreamSynchronize(stream); }
  static hipMemcpyKind kind(Direction direction) {
    return direction == Direction::kToDevice ? hipMemcpyHostToDevice : hipMemcpyDeviceToHost;
  }
  Error copy(void* to, const void* from, std::size_t bytes, Direction direction, Stream stream) {
    return hip.hipMemcpyAsync(to, from, bytes, kind(direction), stream);
  }
  Error copy_rows(void* to, std::size_t to_stride, const void* from, std::size_t from_stride, std::size_t bytes,
                  std::size_t rows, Direction direction, Stream stream) {
    return hip.hipMemcpy2DAsync(to, to_stride, from, from_stride, bytes, rows, kind(direction), stream);
  }
  Error launch(const Launch& of, Stream stream) {
    void* arguments[] = {const_cast<std::byte*>(of.arguments)};
    return hip.hipModuleLaunchKernel(functions[static_cast<std::uint32_t>(of.kernel)], of.grid.x, of.grid.y, of.grid.z,
                                     of.threads, 1, 1, 0, stream, arguments, nullptr);
  }

  Error begin_capture(Stream stream) { return hip.hipStreamBeginCapture(stream, hipStreamCaptureModeThreadLocal); }
  Error end_capture(Stream stream, Graph* graph) { return hip.hipStreamEndCapture(stream, graph); }
  Error instantiate(GraphExec* executable, Graph graph) {
    return hip.hipGraphInstantiate(executable, graph, nullptr, nullptr, 0);
  }
  void destroy_graph(Graph graph) { (void)hip.hipGraphDestroy(graph); }
  void destroy_executable(GraphExec executable) { (void)hip.hipGraphExecDestroy(executable); }
  Error launch_graph(GraphExec executable, Stream stream) { return hip.hipGraphLaunch(executable, stream); }

  Error event_create(Event* event) { return hip.hipEventCreateWithFlags(event, hipEventDisableTiming); }
  void event_destroy(Event event) { (void)hip.hipEventDestroy(event); }
  Error event_record(Event event, Stream stream) { return hip.hipEventRecord(event, stream); }
  Error event_wait(Event event, Stream stream) { return hip.hipStreamWaitEvent(stream, event, 0); }
  Error event_query(Event event) { return hip.hipEventQuery(event); }
  Error event_synchronize(Event event) { return hip.hipEventSynchronize(event); }

  const HipLibrary& hip;
  hipModule_t module = nullptr;
  hipFunction_t functions[kKernelCount] = {};
};

}  // namespace nacelle::gpu
