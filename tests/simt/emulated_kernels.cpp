// The kernels of backends/gpu for the emulator: each as a function that reads its arguments through a pointer.
#include "tests/simt/emulated_kernels.hpp"

#include <cmath>

#include "tests/simt/emulator.hpp"
//
#include "backends/gpu/kernels/attention_tensor.hpp"
#include "backends/gpu/kernels/matmul.hpp"
#include "backends/gpu/kernels/moe.hpp"
#include "backends/gpu/kernels/recurrent.hpp"
#include "backends/gpu/kernels/select.hpp"

namespace nacelle::test {
namespace {

using namespace nacelle::gpu;

template <class Arguments, void (*kKernel)(Arguments)>
void call(const void* arguments) {
  kKernel(*static_cast<const Arguments*>(arguments));
}

constexpr EmulatedKernel kKernels[] = {
#define NACELLE_GPU_FUNCTION(name, Arguments, function) call<Arguments, function>,
    NACELLE_GPU_KERNELS(NACELLE_GPU_FUNCTION)
#undef NACELLE_GPU_FUNCTION
};

}  // namespace

EmulatedKernel emulated_kernel(gpu::Kernel kernel) { return kKernels[static_cast<std::uint32_t>(kernel)]; }

}  // namespace nacelle::test
