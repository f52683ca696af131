// The device: what it supports, and its memory.
#include "backends/reference/backend.hpp"

#include <unistd.h>

namespace nacelle::reference {
namespace {

class ReferenceDevice final : public sdk::Device {
 public:
  ReferenceDevice(const sdk::Host& host, std::span<const Replacement> replacements)
      : host_(host), replacements_(replacements) {}

  bool supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept override { return accepts(graph, op); }
  std::unique_ptr<sdk::Weights> prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                        const nacelle_weight_source& source,
                                        const nacelle_prepare_options& options) override {
    return std::make_unique<ReferenceWeights>(host_, graph, buckets, source, options, replacements_);
  }

 private:
  sdk::Host host_;
  std::span<const Replacement> replacements_;
};

void check(std::uint32_t index) {
  if (index != 0)
    throw sdk::Failure(NACELLE_NOT_FOUND, "there is one device, with index 0, and none with " + std::to_string(index));
}

}  // namespace

nacelle_device_info ReferenceBackend::host_memory_device(std::uint32_t index) {
  check(index);
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  auto info = sdk::make<nacelle_device_info>();
  info.usable = 1;
  info.memory_total = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page;
  info.memory_free = static_cast<std::uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
  info.block_tokens = 16;
  return info;
}

std::unique_ptr<sdk::Device> ReferenceBackend::open(std::uint32_t index) {
  check(index);
  return std::make_unique<ReferenceDevice>(host_, replacements_);
}

}  // namespace nacelle::reference
