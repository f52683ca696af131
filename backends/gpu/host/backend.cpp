#include "backends/gpu/host/backend.hpp"

#include <algorithm>

#include "backends/gpu/host/stream.hpp"
#include "backends/gpu/host/supports.hpp"
#include "backends/gpu/host/weights.hpp"

namespace nacelle::gpu {
namespace {

constexpr std::uint32_t kBlockTokens = 32;  // of a cache block: a tile of attention
constexpr std::uint32_t kMaxRows = 16384;   // of a bucket; a grid has 65535 along y and z

class GpuDevice final : public sdk::Device {
 public:
  explicit GpuDevice(std::shared_ptr<OpenDevice> device) : device_(std::move(device)) {}

  bool supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept override {
    return sdk::takes_op(graph, op, op_bounds());
  }
  std::unique_ptr<sdk::Weights> prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                        const nacelle_weight_source& source,
                                        const nacelle_prepare_options& options) override {
    sdk::check_graph(device_->backend, graph, op_bounds());
    return std::make_unique<GpuWeights>(device_, graph, buckets, source, options);
  }
  std::unique_ptr<sdk::Stream> create_stream() override { return std::make_unique<GpuStream>(device_); }
  std::unique_ptr<sdk::Event> create_event() override { return std::make_unique<GpuEvent>(device_); }

 private:
  std::shared_ptr<OpenDevice> device_;
};

}  // namespace

GpuBackend::GpuBackend(const sdk::Host& host, std::unique_ptr<Runtime> runtime)
    : host_(host), runtime_(std::move(runtime)) {}
GpuBackend::~GpuBackend() = default;

std::uint32_t GpuBackend::count() {
  if (!counted_) {
    count_ = runtime_->device_count(reason_);
    properties_.resize(count_);
    counted_ = true;
  }
  return count_;
}

std::uint32_t GpuBackend::device_count(std::string_view& reason) {
  const std::uint32_t found = count();
  reason = reason_;
  return found;
}

void GpuBackend::check(std::uint32_t index) {
  if (index >= count())
    throw sdk::Failure(NACELLE_NOT_FOUND, std::string(runtime_->name()) + " has no device " + std::to_string(index) +
                                              (reason_.empty() ? "" : ": " + reason_));
}

nacelle_device_info GpuBackend::device_info(std::uint32_t index) {
  check(index);
  DeviceProperties& of = properties_[index];
  of = runtime_->properties(index);
  auto info = sdk::make<nacelle_device_info>();
  info.kind = of.emulated     ? NACELLE_DEVICE_EMULATED
              : of.integrated ? NACELLE_DEVICE_INTEGRATED_GPU
                              : NACELLE_DEVICE_GPU;
  info.usable = of.usable;
  info.name = sdk::view(of.name);
  info.detail = sdk::view(of.detail);
  info.reason = sdk::view(of.reason);
  info.memory_total = of.memory_total;
  info.memory_free = of.memory_free;
  info.block_tokens = kBlockTokens;
  info.max_rows = kMaxRows;
  return info;
}

std::unique_ptr<sdk::Device> GpuBackend::open(std::uint32_t index) {
  check(index);
  DeviceProperties properties = runtime_->properties(index);
  if (!properties.usable)
    throw sdk::Failure(NACELLE_UNAVAILABLE, std::string(runtime_->name()) + ": " + properties.name +
                                                " cannot be used: " + properties.reason);
  auto device =
      std::make_shared<OpenDevice>(OpenDevice{host_, runtime_->name(), std::move(properties), runtime_->open(index)});
  return std::make_unique<GpuDevice>(std::move(device));
}

}  // namespace nacelle::gpu
