// The table of kernels for the emulator.
#pragma once

#include "backends/gpu/kernels/list.hpp"

namespace nacelle::test {

using EmulatedKernel = void (*)(const void* arguments);
EmulatedKernel emulated_kernel(gpu::Kernel kernel);

}  // namespace nacelle::test
