#include "sdk/runtime/content_hash.hpp"

#define XXH_INLINE_ALL  // the header is all of it: nothing to link
#include <xxhash.h>

#include <cstdio>
#include <fstream>
#include <nacelle/plugin.hpp>
#include <vector>

namespace nacelle::sdk {

std::string content_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<char> bytes(file ? static_cast<std::size_t>(file.tellg()) : 0);
  file.seekg(0);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
    throw Failure(NACELLE_NOT_FOUND, path.string() + ": cannot be read");
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  char digits[33];
  std::snprintf(digits, sizeof digits, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return digits;
}

}  // namespace nacelle::sdk
