// Streams and events of the SDK over a runtime's queues and markers.
#pragma once

#include <memory>
#include <nacelle/backend.hpp>

#include "backends/gpu/host/weights.hpp"

namespace nacelle::gpu {

class GpuStream final : public sdk::Stream {
 public:
  explicit GpuStream(std::shared_ptr<OpenDevice> device)
      : device_(std::move(device)), queue_(device_->context->create_queue()) {}
  ~GpuStream() override { device_->context->destroy(queue_); }
  nacelle_status synchronize() noexcept override { return device_->context->synchronize(queue_); }
  Queue* queue() const { return queue_; }

 private:
  std::shared_ptr<OpenDevice> device_;
  Queue* queue_;
};

class GpuEvent final : public sdk::Event {
 public:
  explicit GpuEvent(std::shared_ptr<OpenDevice> device)
      : device_(std::move(device)), marker_(device_->context->create_marker()) {}
  ~GpuEvent() override { device_->context->destroy(marker_); }
  nacelle_status record(sdk::Stream& stream) noexcept override {
    return device_->context->record(marker_, static_cast<GpuStream&>(stream).queue());
  }
  nacelle_status wait(sdk::Stream& stream) noexcept override {
    return device_->context->wait(marker_, static_cast<GpuStream&>(stream).queue());
  }
  nacelle_status query(bool& done) noexcept override { return device_->context->query(marker_, done); }
  nacelle_status synchronize() noexcept override { return device_->context->synchronize(marker_); }

 private:
  std::shared_ptr<OpenDevice> device_;
  Marker* marker_;
};

}  // namespace nacelle::gpu
