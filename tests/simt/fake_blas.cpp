// Stands for cuBLASLt and hipBLASLt where no vendor is: their functions that backends/gpu calls, under both prefixes,
// on host memory. It believes nothing: every number must be the one that the library's own headers have. It has no
// algorithm for an odd number of outputs. NACELLE_FAKE_BLAS_VERSION says how old it is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nacelle/half.hpp>

namespace {

constexpr int kSuccess = 0, kInvalid = 7;
constexpr int kF32 = 0, kF16 = 2, kBf16 = 14;

struct Numbers {
  int compute_f32, transpose_a, none, transposed;
};
constexpr Numbers kCublas = {68, 3, 0, 1}, kHipblas = {2, 0, 111, 112};

struct Descriptor {
  int transpose_a;
};
struct Layout {
  int type;
  std::uint64_t rows, columns;
  std::int64_t stride;
};
struct Preference {
  std::uint64_t workspace = 0;
};
constexpr std::uint64_t kAlgorithm = 0x616c676f72697468;

std::uint64_t products = 0;

float element(const void* data, const Layout& layout, std::uint64_t row, std::uint64_t column) {
  const auto bits = static_cast<const std::uint16_t*>(data)[column * static_cast<std::uint64_t>(layout.stride) + row];
  return layout.type == kF16 ? nacelle::half_to_float(bits) : nacelle::bfloat16_to_float(bits);
}

// What the functions do; `of` are the numbers of the prefix.
int create_descriptor(const Numbers& of, void** to, int compute, int scale) {
  if (compute != of.compute_f32 || scale != kF32) return kInvalid;
  *to = new Descriptor{of.none};
  return kSuccess;
}
int set_descriptor(const Numbers& of, void* descriptor, int attribute, const void* value, std::size_t bytes) {
  if (attribute != of.transpose_a || bytes != sizeof(int)) return kInvalid;
  std::memcpy(&static_cast<Descriptor*>(descriptor)->transpose_a, value, bytes);
  return kSuccess;
}
int create_layout(void** to, int type, std::uint64_t rows, std::uint64_t columns, std::int64_t stride) {
  if ((type != kF32 && type != kF16 && type != kBf16) || stride < static_cast<std::int64_t>(rows)) return kInvalid;
  *to = new Layout{type, rows, columns, stride};
  return kSuccess;
}
int set_preference(void* preference, int attribute, const void* value, std::size_t bytes) {
  if (attribute != 1 || bytes != sizeof(std::uint64_t)) return kInvalid;
  std::memcpy(&static_cast<Preference*>(preference)->workspace, value, bytes);
  return kSuccess;
}
bool fits(const Numbers& of, const Descriptor& descriptor, const Layout& a, const Layout& b, const Layout& d) {
  return descriptor.transpose_a == of.transposed && a.type == b.type && a.type != kF32 && d.type == kF32 &&
         a.rows == b.rows && a.columns == d.rows && b.columns == d.columns;
}
int find_algorithm(const Numbers& of, const void* descriptor, const void* a, const void* b, const void* d,
                   const void* preference, void* result, int* found) {
  const auto& out = *static_cast<const Layout*>(d);
  if (!fits(of, *static_cast<const Descriptor*>(descriptor), *static_cast<const Layout*>(a),
            *static_cast<const Layout*>(b), out) ||
      static_cast<const Preference*>(preference)->workspace < 1 << 20)
    return kInvalid;
  *found = out.rows % 2 ? 0 : 1;
  std::memcpy(result, &kAlgorithm, sizeof kAlgorithm);
  return kSuccess;
}
int multiply(const Numbers& of, const void* descriptor, const void* alpha, const void* a, const void* a_layout,
             const void* b, const void* b_layout, const void* beta, float* d, const void* d_layout,
             const void* algorithm, void* workspace) {
  const auto &x = *static_cast<const Layout*>(a_layout), &y = *static_cast<const Layout*>(b_layout),
             &out = *static_cast<const Layout*>(d_layout);
  std::uint64_t given;
  std::memcpy(&given, algorithm, sizeof given);
  if (!fits(of, *static_cast<const Descriptor*>(descriptor), x, y, out) || given != kAlgorithm || !workspace ||
      *static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0)
    return kInvalid;
  for (std::uint64_t column = 0; column < out.columns; ++column)
    for (std::uint64_t row = 0; row < out.rows; ++row) {
      float sum = 0;
      for (std::uint64_t k = 0; k < x.rows; ++k) sum += element(a, x, k, row) * element(b, y, k, column);
      d[column * static_cast<std::uint64_t>(out.stride) + row] = sum;
    }
  ++products;
  return kSuccess;
}

std::uint64_t version(std::uint64_t otherwise) {
  const char* text = std::getenv("NACELLE_FAKE_BLAS_VERSION");
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT std::uint64_t nacelle_fake_blas_products() { return products; }

#define FAKE(prefix, of)                                                                                              \
  EXPORT int prefix##Create(void** handle) { return *handle = new int, kSuccess; }                                    \
  EXPORT int prefix##Destroy(void* handle) { return delete static_cast<int*>(handle), kSuccess; }                     \
  EXPORT int prefix##MatmulDescCreate(void** to, int compute, int scale) {                                            \
    return create_descriptor(of, to, compute, scale);                                                                 \
  }                                                                                                                   \
  EXPORT int prefix##MatmulDescDestroy(void* at) { return delete static_cast<Descriptor*>(at), kSuccess; }            \
  EXPORT int prefix##MatmulDescSetAttribute(void* at, int attribute, const void* value, std::size_t bytes) {          \
    return set_descriptor(of, at, attribute, value, bytes);                                                           \
  }                                                                                                                   \
  EXPORT int prefix##MatrixLayoutCreate(void** to, int type, std::uint64_t rows, std::uint64_t columns,               \
                                        std::int64_t stride) {                                                        \
    return create_layout(to, type, rows, columns, stride);                                                            \
  }                                                                                                                   \
  EXPORT int prefix##MatrixLayoutDestroy(void* at) { return delete static_cast<Layout*>(at), kSuccess; }              \
  EXPORT int prefix##MatmulPreferenceCreate(void** to) { return *to = new Preference, kSuccess; }                     \
  EXPORT int prefix##MatmulPreferenceDestroy(void* at) { return delete static_cast<Preference*>(at), kSuccess; }      \
  EXPORT int prefix##MatmulPreferenceSetAttribute(void* at, int attribute, const void* value, std::size_t bytes) {    \
    return set_preference(at, attribute, value, bytes);                                                               \
  }                                                                                                                   \
  EXPORT int prefix##MatmulAlgoGetHeuristic(void*, void* descriptor, void* a, void* b, void*, void* d, void* wish,    \
                                            int, void* result, int* found) {                                          \
    return find_algorithm(of, descriptor, a, b, d, wish, result, found);                                              \
  }                                                                                                                   \
  EXPORT int prefix##Matmul(void*, void* descriptor, const void* alpha, const void* a, void* a_layout, const void* b, \
                            void* b_layout, const void* beta, const void*, void*, void* d, void* d_layout,            \
                            const void* algorithm, void* workspace, std::size_t, void*) {                             \
    return multiply(of, descriptor, alpha, a, a_layout, b, b_layout, beta, static_cast<float*>(d), d_layout,          \
                    algorithm, workspace);                                                                            \
  }
FAKE(cublasLt, kCublas)
FAKE(hipblasLt, kHipblas)
EXPORT std::size_t cublasLtGetVersion() { return version(130000); }
EXPORT int hipblasLtGetVersion(void*, int* to) { return *to = static_cast<int>(version(1000)), kSuccess; }
