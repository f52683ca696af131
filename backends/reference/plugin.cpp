// The reference backend as a plugin: one device, always there, never chosen unless it is named.
#include <unistd.h>

#include <nacelle/backend.hpp>

#include "backends/reference/ops.hpp"
#include "backends/reference/weights.hpp"

namespace {

using nacelle::reference::ReferenceWeights;
namespace sdk = nacelle::sdk;

class ReferenceDevice final : public sdk::Device {
 public:
  explicit ReferenceDevice(const sdk::Host& host) : host_(host) {}

  bool supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept override {
    return nacelle::reference::accepts(graph, op);
  }
  std::unique_ptr<sdk::Weights> prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                        const nacelle_weight_source& source,
                                        const nacelle_prepare_options& options) override {
    return std::make_unique<ReferenceWeights>(host_, graph, buckets, source, options);
  }

 private:
  sdk::Host host_;
};

class ReferenceBackend final : public sdk::Backend {
 public:
  explicit ReferenceBackend(const sdk::Host& host) : host_(host) {}

  std::uint32_t device_count(std::string_view&) override { return 1; }

  nacelle_device_info device_info(std::uint32_t index) override {
    check(index);
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    auto info = sdk::make<nacelle_device_info>();
    info.kind = NACELLE_DEVICE_REFERENCE;
    info.usable = 1;
    info.name = sdk::view("Reference");
    info.detail = sdk::view("plain fp32 on one thread: the definition of every operation");
    info.memory_total = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page;
    info.memory_free = static_cast<std::uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
    info.block_tokens = 16;
    return info;
  }

  std::unique_ptr<sdk::Device> open(std::uint32_t index) override {
    check(index);
    return std::make_unique<ReferenceDevice>(host_);
  }

 private:
  static void check(std::uint32_t index) {
    if (index != 0) throw sdk::Failure(NACELLE_NOT_FOUND, "reference has one device, with index 0");
  }
  sdk::Host host_;
};

}  // namespace

NACELLE_BACKEND_PLUGIN(ReferenceBackend, "reference", "0.1")
