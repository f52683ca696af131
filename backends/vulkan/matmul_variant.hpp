// The shapes that the matmul shader is built in. Those of one kind, f32 or int8, sum in the same order and differ in
// speed alone; a weight keeps its kind.
#pragma once

#include <cstdint>
#include <string>

#include "backends/vulkan/device.hpp"
#include "backends/vulkan/weights.hpp"

namespace nacelle::vulkan {

struct MatmulVariant {
  std::uint32_t rows, panels;  // of a workgroup's tile
  std::uint32_t slices;        // of K side by side
  std::uint32_t shared_lanes;  // that share loads of activations; 0: none
  bool integer = false;        // activations of encode_rows.comp
  bool matrix = false;         // cooperative matrices

  std::string name(Format format) const;
};

// True where the device multiplies int8 in hardware and the format has a shader for it; the kind of all its products.
bool multiplies_int8(const VulkanDevice& device, Format format);

// True where products of many rows in this format may run on cooperative matrices, if numerics allow: the device has
// them, and the driver takes the shader. Else, where it refuses, one line in the log.
bool multiplies_matrices(VulkanDevice& device, Format format);

// For steps of at most `rows` rows.
MatmulVariant choose_matmul(const VulkanDevice& device, std::uint64_t rows, const PackedMatrix& matrix);
// Throws sdk::Failure where the driver takes neither this variant nor the one that shares nothing.
VkPipeline pipeline_of(VulkanDevice& device, Format format, const MatmulVariant& variant);

}  // namespace nacelle::vulkan
