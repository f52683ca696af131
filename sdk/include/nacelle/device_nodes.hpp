// A glance at /dev, for hardware_present(): drivers make a node for what they have found, and looking opens nothing.
#pragma once

#include <glob.h>

#include <initializer_list>

namespace nacelle::sdk {

// Whether any of the patterns ("/dev/dri/renderD*") names a file. True where the question itself fails. Any thread.
inline bool device_node_exists(std::initializer_list<const char*> patterns) noexcept {
  for (const char* pattern : patterns) {
    glob_t found{};
    const int status = glob(pattern, GLOB_NOSORT, nullptr, &found);
    globfree(&found);
    if (status != GLOB_NOMATCH) return true;
  }
  return false;
}

}  // namespace nacelle::sdk
