// The kernels of backends/gpu for CUDA, and the table that leads from a kernel's name to its function.
#include "backends/cuda/kernels.hpp"
#include "backends/gpu/kernels/attention_tensor.hpp"
#include "backends/gpu/kernels/matmul.hpp"
#include "backends/gpu/kernels/moe.hpp"
#include "backends/gpu/kernels/recurrent.hpp"
#include "backends/gpu/kernels/select.hpp"

namespace nacelle::gpu {
namespace {

const void* const kFunctions[] = {
#define NACELLE_GPU_FUNCTION(name, Arguments, function) reinterpret_cast<const void*>(function),
    NACELLE_GPU_KERNELS(NACELLE_GPU_FUNCTION)
#undef NACELLE_GPU_FUNCTION
};

}  // namespace

const void* kernel_function(Kernel kernel) { return kFunctions[static_cast<std::uint32_t>(kernel)]; }

}  // namespace nacelle::gpu
