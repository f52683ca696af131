// A backend on OpenBLAS (Debian's libopenblas0-serial). The matrix products are its own, the rest is the reference
// backend's. Two things worth copying: the vendor's library is opened when a device is asked for, so that a machine
// without it is told what is missing; and a row keeps its bits, which BLAS does not promise by itself.
#include <dlfcn.h>

#include <nacelle/reference/backend.hpp>
#include <string>

namespace {

using nacelle::reference::Call;
using nacelle::reference::Matrix;
namespace sdk = nacelle::sdk;

// The two functions that are used, as cblas.h declares them.
enum { kRowMajor = 101, kNoTranspose = 111, kTranspose = 112 };
using Sgemv = void (*)(int order, int transpose, int m, int n, float alpha, const float* a, int lda, const float* x,
                       int incx, float beta, float* y, int incy);
using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a,
                       int lda, const float* b, int ldb, float beta, float* c, int ldc);

struct Blas {
  Sgemv sgemv = nullptr;
  Sgemm sgemm = nullptr;
  std::string name, missing;

  Blas() {
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      missing = "libopenblas.so.0 cannot be opened; on Debian install libopenblas0-serial";
      return;
    }
    // The host's pool is the only one: a BLAS that has threads of its own is told to use one.
    if (auto set = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"))) set(1);
    if (auto config = reinterpret_cast<const char* (*)()>(dlsym(library, "openblas_get_config"))) name = config();
    sgemv = reinterpret_cast<Sgemv>(dlsym(library, "cblas_sgemv"));
    sgemm = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
    if (!sgemv || !sgemm) missing = "libopenblas.so.0 has no cblas_sgemv or cblas_sgemm";
  }
};
const Blas& blas() {
  static const Blas instance;
  return instance;
}

// y[r][n] = sum over k of x[r][k] w[n][k], plus bias[n]. One product a row gives a row the same bits in every step,
// since each call has the same shape. One product for all rows is faster, and its sums depend on how many there are:
// only where the user asked for the fastest.
void matmul(Call& call) {
  const Matrix x = call.in(0), w = call.in(1), y = call.out();
  const int rows = static_cast<int>(y.rows), outputs = static_cast<int>(y.width), inputs = static_cast<int>(x.width);
  if (call.numerics() == NACELLE_NUMERICS_FASTEST && rows > 1)
    blas().sgemm(kRowMajor, kNoTranspose, kTranspose, rows, outputs, inputs, 1, x.data, inputs, w.data, inputs, 0,
                 y.data, outputs);
  else
    for (int r = 0; r < rows; ++r)
      blas().sgemv(kRowMajor, kNoTranspose, outputs, inputs, 1, w.data, inputs, x.row(r).data(), 1, 0, y.row(r).data(),
                   1);
  if (!call.has(2)) return;
  const float* bias = call.in(2).data;
  for (std::uint64_t r = 0; r < y.rows; ++r)
    for (std::uint64_t n = 0; n < y.width; ++n) y.at(r, n) += bias[n];
}

constexpr nacelle::reference::Replacement kKernels[] = {{NACELLE_OP_MATMUL, matmul}};

class Backend final : public nacelle::reference::ReferenceBackend {
 public:
  explicit Backend(const sdk::Host& host) : ReferenceBackend(host, kKernels) {}

  std::uint32_t device_count(std::string_view& reason) override {
    reason = blas().missing;
    return blas().missing.empty() ? 1 : 0;
  }

  nacelle_device_info device_info(std::uint32_t index) override {
    if (!blas().missing.empty()) throw sdk::Failure(NACELLE_UNAVAILABLE, blas().missing);
    nacelle_device_info info = host_memory_device(index);
    info.kind = NACELLE_DEVICE_EMULATED;  // an example: only where it is named
    info.name = sdk::view("OpenBLAS");
    info.detail = sdk::view(blas().name);
    return info;
  }

  std::unique_ptr<sdk::Device> open(std::uint32_t index) override {
    if (!blas().missing.empty()) throw sdk::Failure(NACELLE_UNAVAILABLE, blas().missing);
    return ReferenceBackend::open(index);
  }
};

}  // namespace

NACELLE_BACKEND_PLUGIN(Backend, "openblas", "1.0.0")
