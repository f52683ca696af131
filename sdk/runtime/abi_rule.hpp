// Which plugins this host runs, by the ABI version in their manifest. One pure function, so that the rule can be read.
#pragma once

#include <nacelle/plugin.h>

#include <cstdint>
#include <string>

namespace nacelle::sdk {

struct AbiVersion {
  std::uint32_t major = 0, minor = 0;
};

// Of this SDK, and the oldest minor that it still serves: from 1.0 on all of the major.
inline constexpr AbiVersion kBackendAbi = {NACELLE_BACKEND_ABI_MAJOR, NACELLE_BACKEND_ABI_MINOR};
inline constexpr AbiVersion kArchitectureAbi = {NACELLE_ARCHITECTURE_ABI_MAJOR, NACELLE_ARCHITECTURE_ABI_MINOR};
inline constexpr std::uint32_t kBackendFloor = kBackendAbi.major == 0 ? kBackendAbi.minor : 0;
inline constexpr std::uint32_t kArchitectureFloor = kArchitectureAbi.major == 0 ? kArchitectureAbi.minor : 0;

// Empty when a host of version `host` that still serves minors from `floor` on takes the plugin; else why not, with
// both versions: "built against backend ABI 0.2, this host takes 0.1 only". Major 0 promises nothing: the minor must
// match exactly. From 1.0 on: the same major, a minor of at least the floor; a newer minor is taken too, since structs
// only grow and are read with their size.
std::string abi_refusal(const std::string& kind, AbiVersion plugin, AbiVersion host, std::uint32_t floor);

std::string to_string(AbiVersion version);  // "0.1"

}  // namespace nacelle::sdk
