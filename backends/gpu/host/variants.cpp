#include "backends/gpu/host/variants.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <string>
#include <vector>

namespace nacelle::gpu {
namespace {

// Up to here a warp has a slice to itself: more warps read the weights at once. Beyond, weights are read once for many
// rows.
constexpr std::uint32_t kFewRows = 16;

// From here on a vendor's library may be worth unpacking the weights for, which moves 4 bytes a weight and more; where
// products run in f32 it is worth it much sooner. By reckoning (docs/backends/gpu.md): no device has measured it.
constexpr std::uint32_t kVendorRows = 512, kVendorRowsBesidePlain = 64;
constexpr std::uint64_t kMaxUnpackedBytes = 512 << 20;

constexpr const char* kNoTensorCores = "the device has no m16n8k16 products (compute capability 8.0)";

struct Candidate {
  MatmulVariant variant;
  const char* rows;  // of a plan that takes it
};

std::vector<Candidate> candidates(const Format& format) {
  std::vector<Candidate> all;
  if (format.tensor_few != kNoKernel) {
    all.push_back({{format.tensor_few, true, 8, 1, true}, "1-16"});
    all.push_back({{format.tensor_many, true, 64, 8, false}, "17+"});
  }
  all.push_back({{format.plain_one, false, 1, 1, true}, "1"});
  all.push_back({{format.plain_few, false, 8, 1, true}, "2+"});
  return all;
}

}  // namespace

bool uses_tensor_cores(const Format& format, const DeviceProperties& device) {
  return device.tensor && format.tensor_few != kNoKernel;
}

MatmulVariant choose_matmul(const Format& format, bool tensor, std::uint32_t rows) {
  const std::vector<Candidate> all = candidates(format);
  if (tensor) return all[rows <= kFewRows ? 0 : 1].variant;
  return all[all.size() - (rows == 1 ? 2 : 1)].variant;
}

bool takes_vendor_product(const Format& format, const PackedWeights& weights, const DeviceProperties& device,
                          std::uint32_t rows) {
  const std::uint64_t unpacked = std::uint64_t{weights.panels} * 16 * (weights.columns + 31) / 32 * 64;
  return format.unpack != kNoKernel &&
         rows >= (uses_tensor_cores(format, device) ? kVendorRows : kVendorRowsBesidePlain) &&
         unpacked <= kMaxUnpackedBytes;
}

namespace {

// clang-format off
constexpr AttentionVariant kAttention[] = {
    {NACELLE_TYPE_F16,     128, true,  16, 16, 64, Kernel::k_attention_f16_tensor_split, Kernel::k_attention_f16_tensor_walk},
    {NACELLE_TYPE_BF16,    128, true,  16, 16, 64, Kernel::k_attention_bf16_tensor_split, Kernel::k_attention_bf16_tensor_walk},
    {NACELLE_TYPE_F32,     128, false, 8, 8, 8, Kernel::k_attention_f32_128_split, Kernel::k_attention_f32_128_walk},
    {NACELLE_TYPE_F16,     128, false, 8, 8, 8, Kernel::k_attention_f16_128_split, Kernel::k_attention_f16_128_walk},
    {NACELLE_TYPE_BF16,    128, false, 8, 8, 8, Kernel::k_attention_bf16_128_split, Kernel::k_attention_bf16_128_walk},
    {NACELLE_TYPE_INVALID, 128, false, 8, 8, 8, Kernel::k_attention_any_128_split, Kernel::k_attention_any_128_walk},
    {NACELLE_TYPE_INVALID, 256, false, 8, 8, 8, Kernel::k_attention_any_256_split, Kernel::k_attention_any_256_walk},
    {NACELLE_TYPE_INVALID, 576, false, 8, 8, 8, Kernel::k_attention_any_576_split, Kernel::k_attention_any_576_walk},
};
// clang-format on
constexpr AttentionVariant kOwnRows = {
    NACELLE_TYPE_INVALID, 256, false, 8, 8, 8, Kernel::k_attention_own_256_walk, Kernel::k_attention_own_256_walk};

// Empty, or why it cannot be used.
std::string attention_obstacle(const AttentionVariant& variant, const nacelle_attention_attributes& of,
                               nacelle_type keys, nacelle_type values, const DeviceProperties& device) {
  if (variant.type != NACELLE_TYPE_INVALID && (variant.type != keys || variant.type != values))
    return "the cache is of another type";
  if (std::max(of.key_width, of.value_width) > variant.width)
    return "heads are wider than " + std::to_string(variant.width);
  if (!variant.tensor) return {};
  if (!device.tensor) return kNoTensorCores;
  return of.key_width % 8 || of.value_width % 8 ? "a head's width is no multiple of 8" : "";
}

nacelle_kernel_info line(const char* op, const std::string& pattern, Kernel kernel, const char* rows) {
  auto info = sdk::make<nacelle_kernel_info>();
  info.op = sdk::view(op);
  info.pattern = sdk::view(pattern);
  info.variant = sdk::view(kKernelNames[static_cast<std::uint32_t>(kernel)]);
  info.rows = sdk::view(rows);
  info.revision = 1;
  info.chosen_by = NACELLE_CHOSEN_BY_COST;
  return info;
}

void visit_vendor(const std::string& pattern, const Format& format, const PackedWeights& weights,
                  const DeviceProperties& device, const VendorState& vendor, const KernelVisit& visit) {
  if (!takes_vendor_product(format, weights, device, ~0u)) return;
  const std::uint32_t first = uses_tensor_cores(format, device) ? kVendorRows : kVendorRowsBesidePlain;
  const std::string rows = std::to_string(first) + "+";
  auto info = line("matmul", pattern, format.unpack, rows.c_str());
  info.variant = sdk::view(vendor.blas ? vendor.blas->name() : "vendor's library");
  info.state = vendor.blas     ? NACELLE_KERNEL_SELECTED
               : vendor.wanted ? NACELLE_KERNEL_UNUSABLE
                               : NACELLE_KERNEL_CANDIDATE;
  const std::string reason = vendor.blas     ? "numerics: fastest; a row's bits depend on its batch"
                             : vendor.wanted ? vendor.reason
                                             : "promises a row no bits: used under numerics: fastest alone";
  info.reason = sdk::view(reason);
  visit(info);
}

}  // namespace

const AttentionVariant& choose_attention(const nacelle_attention_attributes& of, nacelle_type keys, nacelle_type values,
                                         const DeviceProperties& device) {
  for (const AttentionVariant& variant : kAttention)
    if (attention_obstacle(variant, of, keys, values, device).empty()) return variant;
  return std::end(kAttention)[-1];  // supports() takes no wider heads
}

const AttentionVariant& own_rows_attention() { return kOwnRows; }

void visit_attention_variants(const nacelle_attention_attributes& of, nacelle_type keys, nacelle_type values,
                              const DeviceProperties& device, const KernelVisit& visit) {
  const AttentionVariant& chosen = choose_attention(of, keys, values, device);
  const std::string pattern = "heads=" + std::to_string(of.head_count) + "/" + std::to_string(of.kv_head_count) +
                              " width=" + std::to_string(of.key_width);
  for (const bool selected : {true, false})
    for (const AttentionVariant& variant : kAttention) {
      if ((&variant == &chosen) != selected) continue;
      auto info = line("attention", pattern, variant.walk, "1+");
      info.static_cost = variant.tensor ? 1 : 2;
      const std::string obstacle = attention_obstacle(variant, of, keys, values, device);
      info.state = selected            ? NACELLE_KERNEL_SELECTED
                   : !obstacle.empty() ? NACELLE_KERNEL_UNUSABLE
                                       : NACELLE_KERNEL_CANDIDATE;
      info.reason = sdk::view(selected            ? "the class of this layer on this device, by cost"
                              : !obstacle.empty() ? std::string_view(obstacle)
                                                  : "another numerics class, or made for wider heads");
      visit(info);
    }
}

void visit_matmul_variants(const Format& format, const PackedWeights& weights, std::uint32_t outputs,
                           const DeviceProperties& device, const VendorState& vendor, const KernelVisit& visit) {
  const bool tensor = uses_tensor_cores(format, device);
  const std::string pattern =
      std::string(format.name) + " N=" + std::to_string(outputs) + " K=" + std::to_string(weights.columns);
  for (const bool selected : {true, false})
    for (const Candidate& of : candidates(format)) {
      if ((of.variant.tensor == tensor) != selected) continue;
      auto info = line("matmul", pattern, of.variant.kernel, of.rows);
      info.static_cost = of.variant.tensor ? 1 : 2;
      if (selected) {
        info.state = NACELLE_KERNEL_SELECTED;
        info.reason = sdk::view("the class of this weight on this device, by cost");
      } else if (of.variant.tensor) {
        info.state = NACELLE_KERNEL_UNUSABLE;
        info.reason = sdk::view(kNoTensorCores);
      } else {
        info.state = NACELLE_KERNEL_CANDIDATE;
        info.reason = sdk::view("another numerics class: plain products in f32");
      }
      visit(info);
    }
  visit_vendor(pattern, format, weights, device, vendor, visit);
}

}  // namespace nacelle::gpu
