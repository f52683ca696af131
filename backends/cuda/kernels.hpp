// From a kernel's name to the function that cudaLaunchKernel takes.
#pragma once

#include "backends/gpu/kernels/list.hpp"

namespace nacelle::gpu {

const void* kernel_function(Kernel kernel);

}  // namespace nacelle::gpu
