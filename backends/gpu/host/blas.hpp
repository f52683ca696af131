// A vendor's library of matrix products, cuBLASLt or hipBLASLt: never linked, opened at run time, and only for a model
// that asks for `numerics: fastest`, because it does not promise a row the same bits in every batch. Their functions
// differ in a prefix, and in the numbers of a few enumerators.
#pragma once

#include <nacelle/plugin.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace nacelle::gpu {

struct BlasDialect {
  const char* name;                    // "cuBLASLt"
  const char* prefix;                  // of its functions
  std::span<const char* const> files;  // the newest first
  std::uint32_t oldest;                // version, as the library counts
  int compute_f32, transpose_a, transposed;
};
inline constexpr const char* kCublasFiles[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
inline constexpr const char* kHipblasFiles[] = {"libhipblaslt.so.1", "libhipblaslt.so.0", "libhipblaslt.so"};
// Sources of the numbers: cublasLt.h and cublas_api.h of CUDA 12 and 13; hipblaslt.h and hipblas-common.h of ROCm 6.
// ROCm 5's library numbers types otherwise, hence the version: 0.6.0 came with ROCm 6.0.
inline constexpr BlasDialect kCublasLt = {"cuBLASLt", "cublasLt", kCublasFiles, 120000, 68, 3, 1};
inline constexpr BlasDialect kHipblasLt = {"hipBLASLt", "hipblasLt", kHipblasFiles, 600, 2, 0, 112};

// y = x w^T, all with consecutive columns: w [outputs][columns] and x [rows][columns] in f16 or bf16, y in f32. Strides
// count elements.
struct BlasProduct {
  const void *weights, *x;
  float* y;
  std::uint32_t rows, outputs, columns;
  std::uint32_t weight_stride, x_stride, y_stride;
  bool bfloat16;
  void* workspace;  // kBlasWorkspace bytes
};
constexpr std::uint64_t kBlasWorkspace = 32 << 20;  // what NVIDIA advises for Hopper; less elsewhere

struct BlasFunctions;

class Blas {
 public:
  // On the current device. nullptr with the reason: not on this machine, too old, or what the library says. `file`
  // stands for the dialect's own where it is not empty.
  static std::unique_ptr<Blas> open(const BlasDialect& dialect, const std::string& file, std::string& reason);
  ~Blas();
  const char* name() const { return dialect_.name; }

  // Whether the library has an algorithm for products of this shape.
  bool supports(const BlasProduct& product) const noexcept;
  // Queues the product on a stream of the vendor's, which may be recording. OK, or INTERNAL.
  nacelle_status multiply(const BlasProduct& product, void* stream) const noexcept;

 private:
  Blas(const BlasDialect& dialect, std::unique_ptr<BlasFunctions> functions, void* handle);
  bool run(const BlasProduct& product, void* stream, bool queue) const noexcept;

  const BlasDialect& dialect_;
  std::unique_ptr<BlasFunctions> call_;
  void* handle_;
};

}  // namespace nacelle::gpu
