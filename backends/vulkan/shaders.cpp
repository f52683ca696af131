// Looking in the table of shaders.
#include "backends/vulkan/shaders.hpp"

namespace nacelle::vulkan {

std::span<const std::uint32_t> find_shader(std::string_view name) {
  for (const ShaderEntry& entry : shader_table())
    if (entry.name == name) return {entry.words, entry.bytes / sizeof(std::uint32_t)};
  return {};
}

// FNV-1a over the words.
std::uint64_t shaders_hash() {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const ShaderEntry& entry : shader_table())
    for (std::size_t i = 0; i < entry.bytes / sizeof(std::uint32_t); ++i)
      hash = (hash ^ entry.words[i]) * 0x100000001b3u;
  return hash;
}

}  // namespace nacelle::vulkan
