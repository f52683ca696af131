// Reads a plugin's manifest from its file, without loading it: none of its code runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nacelle/plugin.hpp>
#include <span>
#include <string>
#include <string_view>

namespace nacelle::sdk {

struct Manifest {
  std::uint32_t kind = 0;  // NACELLE_PLUGIN_BACKEND or _ARCHITECTURE
  std::uint32_t abi_major = 0, abi_minor = 0;
  std::string name, version, platform, sanitizer, build_id;
};

// Both throw Failure(NACELLE_INVALID_ARGUMENT), or NACELLE_NOT_FOUND for a sound ELF file without a manifest; the
// message says what is wrong and where, the path version begins with the path. Any thread.
Manifest read_manifest(const std::filesystem::path& path);
// All bytes of a section; empty where the file has none of that name. Throws as read_manifest does.
std::string read_section(const std::filesystem::path& path, std::string_view name);
// The manifest of an ELF image in memory.
Manifest parse_manifest(std::span<const std::byte> file);

}  // namespace nacelle::sdk
