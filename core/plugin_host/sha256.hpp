// SHA-256, for the allow-list of plugins and the names of cache files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace nacelle {

// 64 lower-case hexadecimal digits.
std::string sha256(std::string_view data);
// The same of a whole file. Throws Error when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace nacelle
