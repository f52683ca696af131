// What tells one build of a plugin from another, where nobody has a reason to forge it.
#pragma once

#include <filesystem>
#include <string>

namespace nacelle::sdk {

// XXH3 of the file's bytes, 32 lower-case hexadecimal digits. Throws Failure(NACELLE_NOT_FOUND) when it cannot be read.
std::string content_hash(const std::filesystem::path& file);

}  // namespace nacelle::sdk
