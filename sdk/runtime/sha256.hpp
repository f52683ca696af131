// SHA-256 (FIPS 180-4): what names a plugin's file in allow-lists and verdicts, and the files of caches.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace nacelle::sdk {

// 64 lower-case hexadecimal digits. Any thread.
std::string sha256(std::span<const std::byte> data);
// The same of a whole file. Throws Failure(NACELLE_NOT_FOUND) when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace nacelle::sdk
