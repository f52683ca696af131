// What tells one build of a plugin from another, where nobody has a reason to forge it.
#pragma once

#include <filesystem>
#include <string>

namespace nacelle::sdk {

// FNV-1a of the file's bytes, 64 bits as 16 hexadecimal digits. Throws Failure(NACELLE_NOT_FOUND) when it cannot be
// read.
std::string content_hash(const std::filesystem::path& file);

}  // namespace nacelle::sdk
