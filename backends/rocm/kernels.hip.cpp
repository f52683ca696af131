// The kernels of backends/gpu for HIP, each under its plain name, in a code object that the plugin carries along.
#include "backends/gpu/kernels/attention_tensor.hpp"
#include "backends/gpu/kernels/list.hpp"
#include "backends/gpu/kernels/matmul.hpp"
#include "backends/gpu/kernels/moe.hpp"
#include "backends/gpu/kernels/recurrent.hpp"
#include "backends/gpu/kernels/select.hpp"

using namespace nacelle::gpu;

#define NACELLE_GPU_FUNCTION(name, Arguments, function) \
  extern "C" __global__ void __launch_bounds__(256) nacelle_##name(const Arguments arguments) { function(arguments); }
NACELLE_GPU_KERNELS(NACELLE_GPU_FUNCTION)
