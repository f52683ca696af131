// Runtime and Context over a vendor's API. CUDA's and HIP's differ in little but their prefixes, so a class `Api` with
// one line a function is all that a vendor adds; see backends/cuda/api.hpp. Needed of it, beside the functions used
// below:
//   types    Error, Stream, Graph, GraphExec, Event
//   answers  name_of(Error), is_lost(Error), is_memory(Error), is_pending(Error); Error 0 is success; blas_dialect()
#pragma once

#include <atomic>

#include "backends/gpu/host/runtime.hpp"

namespace nacelle::gpu {

template <class Api>
class VendorContext final : public Context {
 public:
  VendorContext(std::shared_ptr<Api> api, std::string vendor, int index)
      : api_(std::move(api)), vendor_(std::move(vendor)), index_(index) {
    check(api_->set_device(index_), "selecting the device");
    check(api_->prepare_kernels(index_), "loading the kernels");
  }

  void* allocate(std::uint64_t bytes) override {
    void* memory = nullptr;
    const Error error = on_device([&] { return api_->malloc(&memory, bytes); });
    if (api_->is_memory(error))
      throw sdk::Failure(NACELLE_OUT_OF_MEMORY, vendor_ + ": device " + std::to_string(index_) + " cannot allocate " +
                                                    std::to_string(bytes >> 20) +
                                                    " MiB: " + std::to_string(free_bytes() >> 20) +
                                                    " MiB are free; use a smaller model, context or cache");
    check(error, "allocating memory");
    return memory;
  }
  void release(void* memory) noexcept override { api_->free(memory); }
  void* allocate_host(std::uint64_t bytes) override {
    void* memory = nullptr;
    check(on_device([&] { return api_->malloc_host(&memory, bytes); }), "allocating pinned host memory");
    return memory;
  }
  void release_host(void* memory) noexcept override { api_->free_host(memory); }
  std::uint64_t free_bytes() noexcept override {
    std::size_t free = 0, total = 0;
    return on_device([&] { return api_->mem_info(&free, &total); }) == Error{} ? free : 0;
  }

  Queue* create_queue() override {
    typename Api::Stream stream{};
    check(on_device([&] { return api_->stream_create(&stream); }), "creating a stream");
    return reinterpret_cast<Queue*>(stream);
  }
  void destroy(Queue* queue) noexcept override { api_->stream_destroy(stream(queue)); }
  nacelle_status synchronize(Queue* queue) noexcept override { return status(api_->stream_synchronize(stream(queue))); }

  nacelle_status copy(Queue* queue, void* to, std::uint64_t to_stride, const void* from, std::uint64_t from_stride,
                      std::uint64_t bytes, std::uint64_t rows, Direction direction) noexcept override {
    count(queue);
    if (bytes == 0 || rows == 0) return NACELLE_OK;
    if (rows == 1) return status(on_device([&] { return api_->copy(to, from, bytes, direction, stream(queue)); }));
    return status(on_device(
        [&] { return api_->copy_rows(to, to_stride, from, from_stride, bytes, rows, direction, stream(queue)); }));
  }
  nacelle_status launch(Queue* queue, const Launch& launch) noexcept override {
    count(queue);
    return status(on_device([&] { return api_->launch(launch, stream(queue)); }));
  }

  const Blas* blas(std::string& reason) override {
    if (!blas_ && blas_reason_.empty() && api_->set_device(index_) == Error{})
      blas_ = Blas::open(Api::blas_dialect(), "", blas_reason_);
    reason = blas_reason_;
    return blas_.get();
  }
  nacelle_status multiply(Queue* queue, const BlasProduct& product) noexcept override {
    count(queue);
    if (const nacelle_status selected = status(api_->set_device(index_)); selected != NACELLE_OK) return selected;
    return blas_->multiply(product, stream(queue));
  }

  void begin_capture(Queue* queue) override {
    check(on_device([&] { return api_->begin_capture(stream(queue)); }), "recording a plan");
    captured_ = queue;
  }
  gpu::Graph* end_capture(Queue* queue) override {
    captured_ = nullptr;
    typename Api::Graph graph{};
    check(api_->end_capture(stream(queue), &graph), "recording a plan");
    typename Api::GraphExec executable{};
    const Error error = api_->instantiate(&executable, graph);
    api_->destroy_graph(graph);
    check(error, "making a plan executable");
    return reinterpret_cast<gpu::Graph*>(executable);
  }
  void destroy(gpu::Graph* graph) noexcept override {
    api_->destroy_executable(reinterpret_cast<typename Api::GraphExec>(graph));
  }
  nacelle_status launch(Queue* queue, gpu::Graph* graph) noexcept override {
    count(queue);
    const auto executable = reinterpret_cast<typename Api::GraphExec>(graph);
    return status(on_device([&] { return api_->launch_graph(executable, stream(queue)); }));
  }

  Marker* create_marker() override {
    typename Api::Event event{};
    check(on_device([&] { return api_->event_create(&event); }), "creating an event");
    return reinterpret_cast<Marker*>(event);
  }
  void destroy(Marker* marker) noexcept override { api_->event_destroy(event(marker)); }
  nacelle_status record(Marker* marker, Queue* queue) noexcept override {
    return status(on_device([&] { return api_->event_record(event(marker), stream(queue)); }));
  }
  nacelle_status wait(Marker* marker, Queue* queue) noexcept override {
    return status(on_device([&] { return api_->event_wait(event(marker), stream(queue)); }));
  }
  nacelle_status query(Marker* marker, bool& done) noexcept override {
    const Error error = api_->event_query(event(marker));
    done = error == Error{};
    return api_->is_pending(error) ? static_cast<nacelle_status>(NACELLE_OK) : status(error);
  }
  nacelle_status synchronize(Marker* marker) noexcept override {
    return status(api_->event_synchronize(event(marker)));
  }

 private:
  using Error = typename Api::Error;
  static typename Api::Stream stream(Queue* queue) { return reinterpret_cast<typename Api::Stream>(queue); }
  static typename Api::Event event(Marker* marker) { return reinterpret_cast<typename Api::Event>(marker); }

  // A thread chooses its device for itself, and another context may have chosen since: so every call is made through
  // here.
  template <class Call>
  Error on_device(Call&& call) noexcept {
    const Error error = api_->set_device(index_);
    return error == Error{} ? call() : error;
  }

  void count(Queue* queue) noexcept { submissions += queue != captured_; }
  void check(Error error, const char* what) {
    if (error == Error{}) return;
    const nacelle_status answer = status(error);
    throw sdk::Failure(
        answer, vendor_ + ": " + what + " on device " + std::to_string(index_) + " failed: " + api_->name_of(error));
  }
  // A lost device stays lost: every later call says so, whatever the driver answers.
  nacelle_status status(Error error) noexcept {
    if (lost_.load(std::memory_order_relaxed)) return NACELLE_DEVICE_LOST;
    if (error == Error{}) return NACELLE_OK;
    if (api_->is_memory(error)) return NACELLE_OUT_OF_MEMORY;
    if (!api_->is_lost(error)) return NACELLE_INTERNAL;
    lost_.store(true, std::memory_order_relaxed);
    return NACELLE_DEVICE_LOST;
  }

  std::shared_ptr<Api> api_;
  std::string vendor_;
  int index_;
  Queue* captured_ = nullptr;
  std::unique_ptr<Blas> blas_;
  std::string blas_reason_;
  std::atomic<bool> lost_{false};
};

}  // namespace nacelle::gpu
