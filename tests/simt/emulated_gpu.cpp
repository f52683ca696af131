// A GPU plugin without a GPU: backends/gpu as it is, over a runtime that runs its kernels in the emulator. It exists
// for tests and is never installed. Device 0 has tensor cores, device 1 is without. Settings, of
// backend.emulated_gpu: memory (bytes), lose_after (submissions until the device is lost), blas (the library that
// numerics fastest takes), sabotage ("barrier
// rows.hpp:28", "lanes matmul.hpp:65": what a test breaks in the kernels, see Sabotage).
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>

#include "backends/gpu/host/backend.hpp"
#include "backends/gpu/host/plan.hpp"
#include "tests/simt/emulated_kernels.hpp"
#include "tests/simt/emulator.hpp"

namespace nacelle::gpu {

struct Queue {
  bool capturing = false;
  std::vector<std::function<nacelle_status()>> recorded;
};
struct Graph {
  std::vector<std::function<nacelle_status()>> work;
};
struct Marker {};

namespace {

constexpr std::uint64_t kAlignment = 256;

struct Settings {
  std::uint64_t memory, lose_after;
  std::string blas;  // "cublaslt:FILE" or "hipblaslt:FILE"
  simt::emulation::Sabotage sabotage;
};

simt::emulation::Sabotage read_sabotage(const std::string& text) {
  using Kind = simt::emulation::Sabotage::Kind;
  if (text.empty()) return {};
  const std::size_t space = text.find(' '), colon = text.rfind(':');
  return {text.starts_with("barrier") ? Kind::kBarrier : Kind::kExchange, text.substr(space + 1, colon - space - 1),
          std::atoi(text.c_str() + colon + 1)};
}

// Everything is done when the call returns. Memory is the host's, each piece an allocation of its own, so that ASan
// sees what lies beyond it.
class EmulatedContext final : public Context {
 public:
  EmulatedContext(const sdk::Host& host, const Settings& settings) : host_(host), settings_(settings) {}

  void* allocate(std::uint64_t bytes) override {
    if (bytes > settings_.memory - used_)
      throw sdk::Failure(NACELLE_OUT_OF_MEMORY, "emulated_gpu: " + std::to_string(bytes) + " bytes do not fit: " +
                                                    std::to_string(settings_.memory - used_) + " are free");
    void* memory = allocate_host(bytes);
    used_ += bytes;
    sizes_.emplace_back(memory, bytes);
    return memory;
  }
  void release(void* memory) noexcept override {
    const auto found = std::find_if(sizes_.begin(), sizes_.end(), [&](const auto& of) { return of.first == memory; });
    used_ -= found->second;
    sizes_.erase(found);
    std::free(memory);
  }
  // NaNs, as f32, where nothing was written.
  void* allocate_host(std::uint64_t bytes) override {
    void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, bytes);
    return memory;
  }
  void release_host(void* memory) noexcept override { std::free(memory); }
  std::uint64_t free_bytes() noexcept override { return settings_.memory - used_; }

  Queue* create_queue() override { return new Queue; }
  void destroy(Queue* queue) noexcept override { delete queue; }
  nacelle_status synchronize(Queue*) noexcept override { return lost_ ? NACELLE_DEVICE_LOST : NACELLE_OK; }

  nacelle_status copy(Queue* queue, void* to, std::uint64_t to_stride, const void* from, std::uint64_t from_stride,
                      std::uint64_t bytes, std::uint64_t rows, Direction) noexcept override {
    return submit(queue, [=] {
      for (std::uint64_t row = 0; row < rows; ++row)
        std::memcpy(static_cast<std::byte*>(to) + row * to_stride,
                    static_cast<const std::byte*>(from) + row * from_stride, bytes);
      return static_cast<nacelle_status>(NACELLE_OK);
    });
  }

  nacelle_status launch(Queue* queue, const Launch& launch) noexcept override {
    return submit(queue, [this, launch] {
      try {
        simt::own_machine().sabotage = settings_.sabotage;
        simt::launch(test::emulated_kernel(launch.kernel), launch.arguments,
                     {launch.grid.x, launch.grid.y, launch.grid.z}, {launch.threads, 1, 1}, ++launches_);
        return static_cast<nacelle_status>(NACELLE_OK);
      } catch (const std::exception& fault) {
        host_.log(NACELLE_LOG_ERROR,
                  std::string(kKernelNames[static_cast<std::uint32_t>(launch.kernel)]) + ": " + fault.what());
        return static_cast<nacelle_status>(NACELLE_INTERNAL);
      }
    });
  }

  const Blas* blas(std::string& reason) override {
    const std::size_t colon = settings_.blas.find(':');
    if (settings_.blas.empty()) reason = "an emulated GPU has no vendor";
    if (!blas_ && colon != std::string::npos)
      blas_ = Blas::open(settings_.blas.starts_with("cu") ? kCublasLt : kHipblasLt, settings_.blas.substr(colon + 1),
                         reason);
    return blas_.get();
  }
  nacelle_status multiply(Queue* queue, const BlasProduct& product) noexcept override {
    return submit(queue, [this, product] { return blas_->multiply(product, nullptr); });
  }

  void begin_capture(Queue* queue) override { queue->capturing = true; }
  Graph* end_capture(Queue* queue) override {
    queue->capturing = false;
    return new Graph{std::exchange(queue->recorded, {})};
  }
  void destroy(Graph* graph) noexcept override { delete graph; }
  nacelle_status launch(Queue* queue, Graph* graph) noexcept override {
    return submit(queue, [graph] {
      for (const auto& work : graph->work)
        if (const nacelle_status status = work(); status != NACELLE_OK) return status;
      return static_cast<nacelle_status>(NACELLE_OK);
    });
  }

  Marker* create_marker() override { return new Marker; }
  void destroy(Marker* marker) noexcept override { delete marker; }
  nacelle_status record(Marker*, Queue*) noexcept override { return NACELLE_OK; }
  nacelle_status wait(Marker*, Queue*) noexcept override { return NACELLE_OK; }
  nacelle_status query(Marker*, bool& done) noexcept override { return done = true, NACELLE_OK; }
  nacelle_status synchronize(Marker*) noexcept override { return NACELLE_OK; }

 private:
  template <class Work>
  nacelle_status submit(Queue* queue, Work work) noexcept {
    // What the emulator allocates is not the backend's.
    const std::uint64_t allocations = allocation_count();
    nacelle_status status = NACELLE_OK;
    if (queue->capturing) {
      queue->recorded.emplace_back(work);
    } else {
      ++submissions;
      lost_ = lost_ || submissions > settings_.lose_after;
      status = lost_ ? static_cast<nacelle_status>(NACELLE_DEVICE_LOST) : work();
    }
    allocation_count() = allocations;
    return status;
  }

  sdk::Host host_;
  Settings settings_;
  std::uint64_t used_ = 0, launches_ = 0;
  std::vector<std::pair<void*, std::uint64_t>> sizes_;
  bool lost_ = false;
  std::unique_ptr<Blas> blas_;
};

class EmulatedRuntime final : public Runtime {
 public:
  explicit EmulatedRuntime(const sdk::Host& host) : host_(host) {}
  const char* name() const override { return "emulated_gpu"; }
  bool hardware_present() const noexcept override { return true; }
  std::uint32_t device_count(std::string&) override { return 2; }
  DeviceProperties properties(std::uint32_t index) override {
    DeviceProperties properties;
    properties.name = "Emulated GPU";
    properties.tensor = index == 0;
    properties.detail = properties.tensor ? "fibers on one thread, with tensor cores" : "fibers on one thread";
    properties.usable = properties.emulated = true;
    properties.memory_total = properties.memory_free = settings().memory;
    return properties;
  }
  std::unique_ptr<Context> open(std::uint32_t) override { return std::make_unique<EmulatedContext>(host_, settings()); }

 private:
  std::uint64_t number(const char* key, std::uint64_t otherwise) const {
    const auto text = host_.config(std::string("backend.emulated_gpu.") + key);
    return text && !text->empty() ? std::strtoull(text->c_str(), nullptr, 10) : otherwise;
  }
  Settings settings() const {
    return {number("memory", 4ull << 30), number("lose_after", ~0ull),
            host_.config("backend.emulated_gpu.blas").value_or(""),
            read_sabotage(host_.config("backend.emulated_gpu.sabotage").value_or(""))};
  }
  sdk::Host host_;
};

class EmulatedBackend final : public GpuBackend {
 public:
  explicit EmulatedBackend(const sdk::Host& host) : GpuBackend(host, std::make_unique<EmulatedRuntime>(host)) {}
};

}  // namespace
}  // namespace nacelle::gpu

NACELLE_BACKEND_PLUGIN(nacelle::gpu::EmulatedBackend, "emulated_gpu", "0.1")
