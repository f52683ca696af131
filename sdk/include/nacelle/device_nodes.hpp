// A glance at /dev, for hardware_present(): drivers make a node for what they have found, and looking opens nothing.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <system_error>

namespace nacelle::sdk {

// Whether a file exists whose path begins with one of `prefixes` ("/dev/dri/renderD": renderD128 and the like). True
// where the question itself fails. Any thread.
inline bool device_node_exists(std::initializer_list<std::string_view> prefixes) noexcept try {
  for (const std::string_view prefix : prefixes) {
    const std::filesystem::path path(prefix);
    std::error_code no_folder;
    for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), no_folder))
      if (entry.path().native().starts_with(prefix)) return true;
  }
  return false;
} catch (...) {
  return true;
}

}  // namespace nacelle::sdk
