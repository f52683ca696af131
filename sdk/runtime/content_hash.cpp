#include "sdk/runtime/content_hash.hpp"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <nacelle/plugin.hpp>

namespace nacelle::sdk {

std::string content_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t hash = 0xcbf29ce484222325;
  char bytes[1 << 14];
  while (file.read(bytes, sizeof bytes) || file.gcount() > 0)
    for (std::streamsize i = 0; i < file.gcount(); ++i)
      hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3;
  if (!file.eof()) throw Failure(NACELLE_NOT_FOUND, path.string() + ": cannot be read");
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace nacelle::sdk
