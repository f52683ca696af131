#include "backends/gpu/host/blas.hpp"

#include <dlfcn.h>

#include <type_traits>

namespace nacelle::gpu {
namespace {

// Types of elements, the same in both since ROCm 6. Sources: library_types.h of CUDA and of HIP.
constexpr int kF32 = 0, kF16 = 2, kBf16 = 14;
constexpr int kMaxWorkspace = 1;  // attribute of a preference, in both

}  // namespace

// clang-format off
#define NACELLE_BLAS_FUNCTIONS(FUNCTION)                                                                        \
  FUNCTION(Create, int (*)(void** handle))                                                                      \
  FUNCTION(Destroy, int (*)(void* handle))                                                                      \
  FUNCTION(MatmulDescCreate, int (*)(void** descriptor, int compute, int scale))                                \
  FUNCTION(MatmulDescDestroy, int (*)(void* descriptor))                                                        \
  FUNCTION(MatmulDescSetAttribute, int (*)(void* descriptor, int attribute, const void* value, std::size_t))    \
  FUNCTION(MatrixLayoutCreate, int (*)(void** layout, int type, std::uint64_t rows, std::uint64_t, std::int64_t)) \
  FUNCTION(MatrixLayoutDestroy, int (*)(void* layout))                                                          \
  FUNCTION(MatmulPreferenceCreate, int (*)(void** preference))                                                  \
  FUNCTION(MatmulPreferenceDestroy, int (*)(void* preference))                                                  \
  FUNCTION(MatmulPreferenceSetAttribute, int (*)(void* preference, int attribute, const void*, std::size_t))    \
  FUNCTION(MatmulAlgoGetHeuristic, int (*)(void* handle, void* descriptor, void* a, void* b, void* c, void* d,  \
                                           void* preference, int wanted, void* results, int* found))            \
  FUNCTION(Matmul, int (*)(void* handle, void* descriptor, const void* alpha, const void* a, void* a_layout,    \
                           const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,      \
                           void* d, void* d_layout, const void* algorithm, void* workspace, std::size_t bytes,  \
                           void* stream))
// clang-format on

struct BlasFunctions {
#define NACELLE_BLAS_MEMBER(name, type) std::type_identity_t<type> name = nullptr;
  NACELLE_BLAS_FUNCTIONS(NACELLE_BLAS_MEMBER)
#undef NACELLE_BLAS_MEMBER

  // The name of a function that is not there, or empty.
  std::string load(void* library, const std::string& prefix) {
    std::string missing;
#define NACELLE_BLAS_LOAD(name, type)                                      \
  name = reinterpret_cast<type>(dlsym(library, (prefix + #name).c_str())); \
  if (!name) missing = prefix + #name;
    NACELLE_BLAS_FUNCTIONS(NACELLE_BLAS_LOAD)
#undef NACELLE_BLAS_LOAD
    return missing;
  }
};

namespace {

// An object of the library, destroyed with this.
class Object {
 public:
  explicit Object(int (*destroy)(void*)) : destroy_(destroy) {}
  ~Object() {
    if (object_) destroy_(object_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  void** place() { return &object_; }
  operator void*() const { return object_; }

 private:
  int (*destroy_)(void*);
  void* object_ = nullptr;
};

// cuBLASLt counts 120304 for 12.3.4, and answers without a handle; hipBLASLt 600 for 0.6.0, and wants one.
std::uint32_t version_of(void* library, const BlasDialect& dialect, void* handle) {
  void* function = dlsym(library, (std::string(dialect.prefix) + "GetVersion").c_str());
  if (!function) return 0;
  if (&dialect == &kCublasLt) return static_cast<std::uint32_t>(reinterpret_cast<std::size_t (*)()>(function)());
  int version = 0;
  reinterpret_cast<int (*)(void*, int*)>(function)(handle, &version);
  return static_cast<std::uint32_t>(version);
}

void* open_library(const BlasDialect& dialect, const std::string& file) {
  if (!file.empty()) return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const char* name : dialect.files)
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  return nullptr;
}

}  // namespace

Blas::Blas(const BlasDialect& dialect, std::unique_ptr<BlasFunctions> functions, void* handle)
    : dialect_(dialect), call_(std::move(functions)), handle_(handle) {}
Blas::~Blas() { call_->Destroy(handle_); }

// The library is never closed: it has state of its own in the driver.
std::unique_ptr<Blas> Blas::open(const BlasDialect& dialect, const std::string& file, std::string& reason) {
  void* library = open_library(dialect, file);
  if (!library) {
    const char* text = dlerror();
    reason = std::string(dialect.name) + " is not on this machine (" + (text ? text : "no such file") + ")";
    return nullptr;
  }
  auto functions = std::make_unique<BlasFunctions>();
  if (const std::string missing = functions->load(library, dialect.prefix); !missing.empty()) {
    reason = std::string(dialect.name) + " has no function " + missing;
    return nullptr;
  }
  void* handle = nullptr;
  if (const int status = functions->Create(&handle)) {
    reason = std::string(dialect.name) + " cannot start: status " + std::to_string(status);
    return nullptr;
  }
  std::unique_ptr<Blas> blas(new Blas(dialect, std::move(functions), handle));
  if (const std::uint32_t version = version_of(library, dialect, handle); version < dialect.oldest) {
    reason = std::string(dialect.name) + " is too old: version " + std::to_string(version) + ", expected " +
             std::to_string(dialect.oldest) + " or later";
    return nullptr;
  }
  return blas;
}

// The library counts in columns: y^T = w x^T, where the rows of w, x and y are columns of w^T, x^T and y^T.
bool Blas::run(const BlasProduct& of, void* stream, bool queue) const noexcept {
  const int type = of.bfloat16 ? kBf16 : kF16;
  Object descriptor(call_->MatmulDescDestroy), preference(call_->MatmulPreferenceDestroy);
  Object w(call_->MatrixLayoutDestroy), x(call_->MatrixLayoutDestroy), y(call_->MatrixLayoutDestroy);
  const std::uint64_t workspace = kBlasWorkspace;
  if (call_->MatmulDescCreate(descriptor.place(), dialect_.compute_f32, kF32) ||
      call_->MatmulDescSetAttribute(descriptor, dialect_.transpose_a, &dialect_.transposed, sizeof(int)) ||
      call_->MatrixLayoutCreate(w.place(), type, of.columns, of.outputs, of.weight_stride) ||
      call_->MatrixLayoutCreate(x.place(), type, of.columns, of.rows, of.x_stride) ||
      call_->MatrixLayoutCreate(y.place(), kF32, of.outputs, of.rows, of.y_stride) ||
      call_->MatmulPreferenceCreate(preference.place()) ||
      call_->MatmulPreferenceSetAttribute(preference, kMaxWorkspace, &workspace, sizeof workspace))
    return false;
  // The algorithm is the first thing in a result; how long both are differs from version to version.
  alignas(16) std::byte result[1024] = {};
  int found = 0;
  if (call_->MatmulAlgoGetHeuristic(handle_, descriptor, w, x, y, y, preference, 1, result, &found) || found < 1)
    return false;
  if (!queue) return true;
  const float alpha = 1, beta = 0;
  return call_->Matmul(handle_, descriptor, &alpha, of.weights, w, of.x, x, &beta, of.y, y, of.y, y, result,
                       of.workspace, kBlasWorkspace, stream) == 0;
}

bool Blas::supports(const BlasProduct& product) const noexcept { return run(product, nullptr, false); }
nacelle_status Blas::multiply(const BlasProduct& product, void* stream) const noexcept {
  return run(product, stream, true) ? NACELLE_OK : NACELLE_INTERNAL;
}

}  // namespace nacelle::gpu
