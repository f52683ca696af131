// The kernel tells most of what it knows in files of one line.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace nacelle {

// Nothing where the file is missing, unreadable or empty. Any thread.
inline std::optional<std::string> first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

}  // namespace nacelle
