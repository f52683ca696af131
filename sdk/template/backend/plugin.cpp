// The backend "@NAME@". It is whole as it stands: every operation runs in plain fp32 on the CPU by the SDK's reference
// backend, but for the matrix product, which is already a function of this file. Replace one operation after the other,
// and run nacelle-conformance after each. FILL IN marks the places that are yours.
#include <nacelle/reference/backend.hpp>

namespace {

using nacelle::reference::Call;
using nacelle::reference::Matrix;
namespace sdk = nacelle::sdk;

// FILL IN: your kernel. y[r][n] = sum over k of x[r][k] w[n][k], plus bias[n]; a row must come out the same to the bit
// whatever other rows are in the step and however many threads run. It may throw; what runs on the pool may not.
void matmul(Call& call) {
  const Matrix x = call.in(0), w = call.in(1), y = call.out();
  const float* bias = call.has(2) ? call.in(2).data : nullptr;
  call.host().parallel_for(y.width, 16, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = 0; r < y.rows; ++r)
      for (std::uint64_t n = begin; n < end; ++n) {
        float sum = bias ? bias[n] : 0;
        for (std::uint64_t k = 0; k < x.width; ++k) sum += x.at(r, k) * w.at(n, k);
        y.at(r, n) = sum;
      }
  });
}

// FILL IN: a line for each operation that you have a kernel for. A third entry, bool takes(graph, op), may refuse
// single cases: they go on as they did.
constexpr nacelle::reference::Replacement kKernels[] = {
    {NACELLE_OP_MATMUL, matmul},
};

class Backend final : public nacelle::reference::ReferenceBackend {
 public:
  explicit Backend(const sdk::Host& host) : ReferenceBackend(host, kKernels) {}

  // FILL IN: a glance that opens no driver: is there hardware of yours? (sdk::device_node_exists,
  // nacelle/device_nodes.hpp)
  bool hardware_present() const noexcept override { return true; }

  // FILL IN: what the device is. EMULATED is listed, and runs a model only where --device @NAME@ asks for it; make it
  // NACELLE_DEVICE_CPU or _GPU once it is faster than what is there, and the host will choose it by itself.
  nacelle_device_info device_info(std::uint32_t index) override {
    nacelle_device_info info = host_memory_device(index);
    info.kind = NACELLE_DEVICE_EMULATED;
    info.name = sdk::view("@NAME@");
    info.detail = sdk::view("plain fp32");
    return info;
  }
};

}  // namespace

NACELLE_BACKEND_PLUGIN(Backend, "@NAME@", "0.1.0")
