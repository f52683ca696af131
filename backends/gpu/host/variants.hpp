// The variants of a matrix product, with their predicates, and which of them a plan takes. A weight has one class,
// plain or tensor, whatever the bucket; variants of a class differ in speed alone.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <functional>

#include "backends/gpu/host/formats.hpp"
#include "backends/gpu/host/runtime.hpp"

namespace nacelle::gpu {

// The class of weights in this format on this device.
bool uses_tensor_cores(const Format& format, const DeviceProperties& device);

struct MatmulVariant {
  Kernel kernel;
  bool tensor;
  std::uint32_t rows;    // that a block takes
  std::uint32_t panels;  // that a block takes
  bool warp_per_slice;   // else a warp walks all slices
};

// For a plan of up to `rows` rows.
MatmulVariant choose_matmul(const Format& format, bool tensor, std::uint32_t rows);

// Every variant of the case, the selected ones first, with the reason why the others are not.
void visit_matmul_variants(const Format& format, std::uint32_t outputs, std::uint32_t columns,
                           const DeviceProperties& device,
                           const std::function<void(const nacelle_kernel_info&)>& visit);

}  // namespace nacelle::gpu
