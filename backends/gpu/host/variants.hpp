// The variants of products and of attention, with their predicates, and which of them a plan takes. A weight, as the
// attention of a layer, has one class, plain or tensor, whatever the bucket; variants of a class differ in speed alone.
// A vendor's library is beside the classes: it is taken under `numerics: fastest` only.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <functional>

#include "backends/gpu/host/formats.hpp"
#include "backends/gpu/host/runtime.hpp"

namespace nacelle::gpu {

// The class of weights in this format on this device.
bool uses_tensor_cores(const Format& format, const DeviceProperties& device);

struct MatmulVariant {
  Kernel kernel;
  bool tensor;
  std::uint32_t rows;    // that a block takes
  std::uint32_t panels;  // that a block takes
  bool warp_per_slice;   // else a warp walks all slices
};

// For a plan of up to `rows` rows.
MatmulVariant choose_matmul(const Format& format, bool tensor, std::uint32_t rows);

// Whether the vendor's library has a plan of `rows` rows, where it may be used at all.
bool takes_vendor_product(const Format& format, const PackedWeights& weights, const DeviceProperties& device,
                          std::uint32_t rows);

struct AttentionVariant {
  nacelle_type type;    // of keys and values; INVALID: any
  std::uint32_t width;  // of a head, at most
  bool tensor;
  std::uint32_t heads;                        // that share a key head, of a block at most
  std::uint32_t split_queries, walk_queries;  // rows by heads that a block takes
  Kernel split, walk;                         // a block a split of the keys; a block for all splits
};

// Over a cache of these types, or over the step's own rows.
const AttentionVariant& choose_attention(const nacelle_attention_attributes& of, nacelle_type keys, nacelle_type values,
                                         const DeviceProperties& device);
const AttentionVariant& own_rows_attention();

using KernelVisit = std::function<void(const nacelle_kernel_info&)>;

// What is known of a vendor's library: asked for or not, and why it is not there.
struct VendorState {
  bool wanted = false;
  const Blas* blas = nullptr;
  std::string reason;
};

// Every variant of the case, the selected ones first, with the reason why the others are not.
void visit_matmul_variants(const Format& format, const PackedWeights& weights, std::uint32_t outputs,
                           const DeviceProperties& device, const VendorState& vendor, const KernelVisit& visit);
void visit_attention_variants(const nacelle_attention_attributes& of, nacelle_type keys, nacelle_type values,
                              const DeviceProperties& device, const KernelVisit& visit);

}  // namespace nacelle::gpu
