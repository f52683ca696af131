// How the files of this folder refuse what they are given.
#pragma once
#include <cstdint>
#include <nacelle/plugin.hpp>
#include <string>

namespace nacelle::sdk {

constexpr std::int64_t kMaxExtent = 0x7fffffff;  // of a tensor's axis: any two multiply within 64 bits

[[noreturn]] inline void refuse(const std::string& message) { throw Failure(NACELLE_INVALID_ARGUMENT, message); }

inline void require(bool condition, const char* message) {
  if (!condition) refuse(message);
}

}  // namespace nacelle::sdk
