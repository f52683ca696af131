// The reference backend as a plugin: one device, always there, never chosen unless it is named.
#include "backends/reference/backend.hpp"

namespace {

class Plugin final : public nacelle::reference::ReferenceBackend {
 public:
  explicit Plugin(const nacelle::sdk::Host& host) : ReferenceBackend(host) {}

  nacelle_device_info device_info(std::uint32_t index) override {
    nacelle_device_info info = host_memory_device(index);
    info.kind = NACELLE_DEVICE_REFERENCE;
    info.name = nacelle::sdk::view("Reference");
    info.detail = nacelle::sdk::view("plain fp32 on one thread: the definition of every operation");
    return info;
  }
};

}  // namespace

NACELLE_BACKEND_PLUGIN(Plugin, "reference", "0.1")
