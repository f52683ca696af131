// The shaders of shaders/, compiled to SPIR-V when the plugin was built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nacelle::vulkan {

struct ShaderEntry {
  std::string_view name;
  const std::uint32_t* words;
  std::size_t bytes;
};
// Written by CMake, with the arrays.
std::span<const ShaderEntry> shader_table();

// "norm", "matmul_q8_0". Empty for a name that is not there.
std::span<const std::uint32_t> find_shader(std::string_view name);

// Of all shaders: a pipeline cache of other shaders is not believed.
std::uint64_t shaders_hash();

}  // namespace nacelle::vulkan
