// What the GPU backends ask of a vendor's runtime: memory, copies, launches, graphs, events. Three implement it: CUDA
// (backends/cuda), HIP (backends/rocm), and the emulator of tests/simt. All else in this folder is shared.
//
// Cold functions throw sdk::Failure with one clear line. Those marked noexcept are on the per-token path and answer
// with a status; NACELLE_DEVICE_LOST is sticky.
#pragma once

#include <nacelle/plugin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "backends/gpu/host/blas.hpp"
#include "backends/gpu/kernels/list.hpp"

namespace nacelle::gpu {

struct Grid {
  std::uint32_t x = 1, y = 1, z = 1;
};

// A kernel with its arguments, ready to be queued.
struct Launch {
  Kernel kernel;
  Grid grid;
  std::uint32_t threads;  // of a block, along x
  alignas(16) std::byte arguments[448];

  template <class Arguments>
  static Launch of(Kernel kernel, Grid grid, std::uint32_t threads, const Arguments& arguments) {
    static_assert(std::is_trivially_copyable_v<Arguments> && sizeof(Arguments) <= sizeof(Launch::arguments));
    Launch launch{kernel, grid, threads, {}};
    std::memcpy(launch.arguments, &arguments, sizeof arguments);
    return launch;
  }
};

enum class Direction { kToDevice, kToHost };

struct DeviceProperties {
  std::string name, detail, reason;
  bool usable = false;
  bool tensor = false;      // has m16n8k16 products
  bool integrated = false;  // shares the host's memory
  bool emulated = false;
  std::uint64_t memory_total = 0, memory_free = 0;
};

// Opaque objects of a runtime, destroyed by the context that made them.
struct Queue;
struct Graph;
struct Marker;

// One open device. Functions that queue are called by one thread a queue at a time.
class Context {
 public:
  virtual ~Context() = default;

  // Device memory, 256-byte aligned; and host memory that the device copies from without the driver's help. Throws
  // OUT_OF_MEMORY, with what was asked for and what is free.
  virtual void* allocate(std::uint64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void* allocate_host(std::uint64_t bytes) = 0;
  virtual void release_host(void* memory) noexcept = 0;
  virtual std::uint64_t free_bytes() noexcept = 0;

  virtual Queue* create_queue() = 0;
  virtual void destroy(Queue* queue) noexcept = 0;
  virtual nacelle_status synchronize(Queue* queue) noexcept = 0;

  // Queued, in order. `rows` runs of `bytes`, apart by the strides; host memory is that of allocate_host where a
  // capture is being made.
  virtual nacelle_status copy(Queue* queue, void* to, std::uint64_t to_stride, const void* from,
                              std::uint64_t from_stride, std::uint64_t bytes, std::uint64_t rows,
                              Direction direction) noexcept = 0;
  virtual nacelle_status launch(Queue* queue, const Launch& launch) noexcept = 0;

  // The vendor's library of products, opened at the first call; nullptr with the reason where it cannot be used.
  virtual const Blas* blas(std::string& reason) = 0;
  virtual nacelle_status multiply(Queue* queue, const BlasProduct& product) noexcept = 0;

  // What is queued between begin and end is recorded instead, and runs as one submission.
  virtual void begin_capture(Queue* queue) = 0;
  virtual Graph* end_capture(Queue* queue) = 0;
  virtual void destroy(Graph* graph) noexcept = 0;
  virtual nacelle_status launch(Queue* queue, Graph* graph) noexcept = 0;

  virtual Marker* create_marker() = 0;
  virtual void destroy(Marker* marker) noexcept = 0;
  virtual nacelle_status record(Marker* marker, Queue* queue) noexcept = 0;
  virtual nacelle_status wait(Marker* marker, Queue* queue) noexcept = 0;
  virtual nacelle_status query(Marker* marker, bool& done) noexcept = 0;
  virtual nacelle_status synchronize(Marker* marker) noexcept = 0;

  // Submissions so far: copies, launches and graphs outside a capture.
  std::uint64_t submissions = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual const char* name() const = 0;  // "cuda": opens messages
  // Opens the driver. 0 with a reason is an answer: no driver, too old, no device.
  virtual bool hardware_present() const noexcept = 0;  // as Backend's
  virtual std::uint32_t device_count(std::string& reason) = 0;
  virtual DeviceProperties properties(std::uint32_t index) = 0;
  virtual std::unique_ptr<Context> open(std::uint32_t index) = 0;
};

// Memory of a context. Move-only.
class Memory {
 public:
  Memory() = default;
  Memory(Context& context, std::uint64_t bytes, bool on_host = false)
      : context_(&context), bytes_(bytes), host_(on_host) {
    if (bytes) data_ = on_host ? context.allocate_host(bytes) : context.allocate(bytes);
  }
  ~Memory() {
    if (data_ && host_) context_->release_host(data_);
    if (data_ && !host_) context_->release(data_);
  }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(data_); }
  std::uint64_t size() const { return bytes_; }
  template <class T>
  T* as(std::uint64_t offset = 0) const {
    return reinterpret_cast<T*>(data() + offset);
  }

 private:
  void swap(Memory& other) noexcept {
    std::swap(context_, other.context_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(host_, other.host_);
  }
  Context* context_ = nullptr;
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  bool host_ = false;
};

}  // namespace nacelle::gpu
