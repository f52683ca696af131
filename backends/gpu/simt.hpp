// The few words that kernels are written in, for CUDA, for HIP and, in tests, for an emulator on the host.
//
// A kernel is a function template over one argument struct of plain data, launched in blocks of up to 1024 threads
// along x (a multiple of 32). "Warps" are runs of 32 lanes on every device: AMD's wavefronts of 64 are two of them,
// which the shuffles keep apart. Shared memory is declared with SIMT_SHARED(type, name, count) and ordered by barrier()
// alone. Compiled without contraction (see the CMake files): a multiply-add is fused exactly where fmaf says so, else
// variants of one numerics class could differ in their bits.
#pragma once

#if !defined(NACELLE_SIMT_EMULATED)  // else tests/simt/emulator.hpp has come before

#include <cstdint>

#if defined(__HIP__) || defined(__HIPCC__)
#include <hip/hip_fp16.h>
#include <hip/hip_runtime.h>
#define SIMT_AMD 1
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define SIMT_AMD 0
#endif

// HIP's kernels are found by name at run time: backends/rocm/kernels.hip.cpp wraps each in a function with a plain one.
#if SIMT_AMD
#define SIMT_KERNEL(threads) __device__ void
#else
#define SIMT_KERNEL(threads) __global__ void __launch_bounds__(threads)
#endif
#define SIMT_DEVICE __device__ __forceinline__
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_SHARED(type, name, count)  \
  __shared__ type name##_memory[count]; \
  const ::simt::Shared<type> name { name##_memory }

namespace simt {

template <class T>
struct Shared {
  T* memory;
  SIMT_DEVICE T& operator[](std::uint32_t index) const { return memory[index]; }
};

constexpr std::uint32_t kLanes = 32;
constexpr std::uint32_t kAllLanes = 0xffffffffu;

SIMT_DEVICE std::uint32_t thread() { return threadIdx.x; }
SIMT_DEVICE std::uint32_t threads() { return blockDim.x; }
SIMT_DEVICE std::uint32_t lane() { return threadIdx.x % kLanes; }
SIMT_DEVICE std::uint32_t warp() { return threadIdx.x / kLanes; }
SIMT_DEVICE std::uint32_t block_x() { return blockIdx.x; }
SIMT_DEVICE std::uint32_t block_y() { return blockIdx.y; }
SIMT_DEVICE std::uint32_t block_z() { return blockIdx.z; }
SIMT_DEVICE std::uint32_t blocks_x() { return gridDim.x; }

// Every thread of the block arrives; what any of them wrote to shared memory before is seen by all after.
SIMT_DEVICE void barrier() { __syncthreads(); }

// Values across a warp, all of whose lanes take part.
template <class T>
SIMT_DEVICE T shuffle(T value, std::uint32_t from) {
#if SIMT_AMD
  return __shfl(value, static_cast<int>(from), kLanes);
#else
  return __shfl_sync(kAllLanes, value, static_cast<int>(from));
#endif
}
template <class T>
SIMT_DEVICE T shuffle_xor(T value, std::uint32_t mask) {
#if SIMT_AMD
  return __shfl_xor(value, static_cast<int>(mask), kLanes);
#else
  return __shfl_xor_sync(kAllLanes, value, static_cast<int>(mask));
#endif
}
// Bit i is the vote of lane i.
SIMT_DEVICE std::uint32_t ballot(bool vote) {
#if SIMT_AMD
  const std::uint64_t votes = __ballot(vote);
  return static_cast<std::uint32_t>(warpSize == 64 && (threadIdx.x & 32) ? votes >> 32 : votes);
#else
  return __ballot_sync(kAllLanes, vote);
#endif
}
// Returns what was there before. Used where the order cannot matter: for counts.
SIMT_DEVICE std::uint32_t atomic_add(std::uint32_t& to, std::uint32_t value) { return atomicAdd(&to, value); }
SIMT_DEVICE std::uint32_t count_bits(std::uint32_t bits) { return static_cast<std::uint32_t>(__popc(bits)); }

SIMT_DEVICE float half_to_float(std::uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
SIMT_DEVICE std::uint16_t float_to_half(float value) { return __half_as_ushort(__float2half_rn(value)); }
SIMT_DEVICE float bits_to_float(std::uint32_t bits) { return __uint_as_float(bits); }
SIMT_DEVICE std::uint32_t float_to_bits(float value) { return __float_as_uint(value); }
SIMT_DEVICE float bfloat16_to_float(std::uint16_t bits) {
  return bits_to_float(static_cast<std::uint32_t>(bits) << 16);
}
SIMT_DEVICE std::uint16_t float_to_bfloat16(float value) {
  const std::uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Two codes, of at most 8 bits in each half of the word, as two f16: code - offset. Or-ing a code into 1024.0 adds it,
// so that one subtraction is all it takes, and it is exact.
SIMT_DEVICE std::uint32_t code_pair(std::uint32_t codes, std::uint32_t offset) {
  union {
    std::uint32_t bits;
    __half2 pair;
  } value{codes | 0x64006400u};
  value.pair = __hsub2(value.pair, __half2half2(__ushort_as_half(static_cast<unsigned short>(0x6400u + offset))));
  return value.bits;
}
using Words4 = uint4;
using Words2 = uint2;

// d += a b on the tensor cores, one tile of 16 x 8 x 16 a warp; fragments as PTX defines them for mma.m16n8k16. Compute
// capability 8.0; kernels that use it are never chosen where the device has less.
SIMT_DEVICE void multiply_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if !SIMT_AMD && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
SIMT_DEVICE void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if !SIMT_AMD && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace simt

#endif
