// The CUDA runtime for backends/gpu/host/vendor_runtime.hpp. It is linked statically and opens the driver itself, at
// the first call: without a driver the plugin loads and says so.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/kernels.hpp"
#include "backends/gpu/host/runtime.hpp"
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
static_assert(nacelle::gpu::kCublasLt.compute_f32 == CUBLAS_COMPUTE_32F &&
              nacelle::gpu::kCublasLt.transpose_a == CUBLASLT_MATMUL_DESC_TRANSA &&
              nacelle::gpu::kCublasLt.transposed == CUBLAS_OP_T && CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == 1 &&
              CUDA_R_32F == 0 && CUDA_R_16F == 2 && CUDA_R_16BF == 14);
#endif

namespace nacelle::gpu {

struct CudaApi {
  using Error = cudaError_t;
  using Stream = cudaStream_t;
  using Graph = cudaGraph_t;
  using GraphExec = cudaGraphExec_t;
  using Event = cudaEvent_t;

  const char* name_of(Error error) const { return cudaGetErrorString(error); }
  bool is_memory(Error error) const { return error == cudaErrorMemoryAllocation; }
  bool is_pending(Error error) const { return error == cudaErrorNotReady; }
  // After these nothing works on the device until the process ends.
  bool is_lost(Error error) const {
    switch (error) {
      case cudaErrorIllegalAddress:
      case cudaErrorLaunchFailure:
      case cudaErrorLaunchTimeout:
      case cudaErrorHardwareStackError:
      case cudaErrorIllegalInstruction:
      case cudaErrorMisalignedAddress:
      case cudaErrorECCUncorrectable:
      case cudaErrorDevicesUnavailable:
      case cudaErrorDeviceUninitialized:
      case cudaErrorContextIsDestroyed: return true;
      default: return false;
    }
  }

  static const BlasDialect& blas_dialect() { return kCublasLt; }

  Error set_device(int index) { return cudaSetDevice(index); }
  Error prepare_kernels(int) { return cudaFree(nullptr); }  // makes the context; kernels load at their first launch
  Error malloc(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
  void free(void* memory) { cudaFree(memory); }
  Error malloc_host(void** memory, std::size_t bytes) { return cudaHostAlloc(memory, bytes, cudaHostAllocPortable); }
  void free_host(void* memory) { cudaFreeHost(memory); }
  Error mem_info(std::size_t* free_bytes, std::size_t* total) { return cudaMemGetInfo(free_bytes, total); }

  Error stream_create(Stream* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking); }
  void stream_destroy(Stream stream) { cudaStreamDestroy(stream); }
  Error stream_synchronize(Stream stream) { return cudaStreamSynchronize(stream); }
  static cudaMemcpyKind kind(Direction direction) {
    return direction == Direction::kToDevice ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
  }
  Error copy(void* to, const void* from, std::size_t bytes, Direction direction, Stream stream) {
    return cudaMemcpyAsync(to, from, bytes, kind(direction), stream);
  }
  Error copy_rows(void* to, std::size_t to_stride, const void* from, std::size_t from_stride, std::size_t bytes,
                  std::size_t rows, Direction direction, Stream stream) {
    return cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, rows, kind(direction), stream);
  }
  Error launch(const Launch& launch, Stream stream) {
    void* arguments[] = {const_cast<std::byte*>(launch.arguments)};
    return cudaLaunchKernel(kernel_function(launch.kernel), dim3(launch.grid.x, launch.grid.y, launch.grid.z),
                            dim3(launch.threads), arguments, 0, stream);
  }

  Error begin_capture(Stream stream) { return cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal); }
  Error end_capture(Stream stream, Graph* graph) { return cudaStreamEndCapture(stream, graph); }
  Error instantiate(GraphExec* executable, Graph graph) { return cudaGraphInstantiate(executable, graph, 0); }
  void destroy_graph(Graph graph) { cudaGraphDestroy(graph); }
  void destroy_executable(GraphExec executable) { cudaGraphExecDestroy(executable); }
  Error launch_graph(GraphExec executable, Stream stream) { return cudaGraphLaunch(executable, stream); }

  Error event_create(Event* event) { return cudaEventCreateWithFlags(event, cudaEventDisableTiming); }
  void event_destroy(Event event) { cudaEventDestroy(event); }
  Error event_record(Event event, Stream stream) { return cudaEventRecord(event, stream); }
  Error event_wait(Event event, Stream stream) { return cudaStreamWaitEvent(stream, event, 0); }
  Error event_query(Event event) { return cudaEventQuery(event); }
  Error event_synchronize(Event event) { return cudaEventSynchronize(event); }
};

}  // namespace nacelle::gpu
