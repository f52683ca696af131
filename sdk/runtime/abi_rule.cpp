// The ABI rule.
#include "sdk/runtime/abi_rule.hpp"

namespace nacelle::sdk {

std::string to_string(AbiVersion version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

std::string abi_refusal(const std::string& kind, AbiVersion plugin, AbiVersion host, std::uint32_t floor) {
  const std::string built = "built against " + kind + " ABI " + to_string(plugin) + ", this host takes ";
  if (host.major == 0) {
    if (plugin.major == 0 && plugin.minor == host.minor) return {};
    return built + to_string(host) + " only: rebuild it with this host's SDK";
  }
  if (plugin.major == host.major && plugin.minor >= floor) return {};
  return built + to_string({host.major, floor}) + " and later of major " + std::to_string(host.major) +
         ": rebuild it with this host's SDK";
}

}  // namespace nacelle::sdk
