// The types of both formats. Block sizes: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
#include "core/formats/tensor.hpp"

#include <limits>

namespace nacelle {
namespace {

// Indexed by ggml's id; a null name is an id that was withdrawn.
constexpr GgmlType kGgmlTypes[] = {
    {"F32", NACELLE_TYPE_F32},         {"F16", NACELLE_TYPE_F16},         {"Q4_0", NACELLE_TYPE_Q4_0},
    {"Q4_1", NACELLE_TYPE_Q4_1},       {nullptr, NACELLE_TYPE_INVALID},   {nullptr, NACELLE_TYPE_INVALID},
    {"Q5_0", NACELLE_TYPE_Q5_0},       {"Q5_1", NACELLE_TYPE_Q5_1},       {"Q8_0", NACELLE_TYPE_Q8_0},
    {"Q8_1", NACELLE_TYPE_INVALID},    {"Q2_K", NACELLE_TYPE_Q2_K},       {"Q3_K", NACELLE_TYPE_Q3_K},
    {"Q4_K", NACELLE_TYPE_Q4_K},       {"Q5_K", NACELLE_TYPE_Q5_K},       {"Q6_K", NACELLE_TYPE_Q6_K},
    {"Q8_K", NACELLE_TYPE_INVALID},    {"IQ2_XXS", NACELLE_TYPE_INVALID}, {"IQ2_XS", NACELLE_TYPE_INVALID},
    {"IQ3_XXS", NACELLE_TYPE_INVALID}, {"IQ1_S", NACELLE_TYPE_INVALID},   {"IQ4_NL", NACELLE_TYPE_IQ4_NL},
    {"IQ3_S", NACELLE_TYPE_INVALID},   {"IQ2_S", NACELLE_TYPE_INVALID},   {"IQ4_XS", NACELLE_TYPE_IQ4_XS},
    {"I8", NACELLE_TYPE_I8},           {"I16", NACELLE_TYPE_I16},         {"I32", NACELLE_TYPE_I32},
    {"I64", NACELLE_TYPE_I64},         {"F64", NACELLE_TYPE_F64},         {"IQ1_M", NACELLE_TYPE_INVALID},
    {"BF16", NACELLE_TYPE_BF16},       {nullptr, NACELLE_TYPE_INVALID},   {nullptr, NACELLE_TYPE_INVALID},
    {nullptr, NACELLE_TYPE_INVALID},   {"TQ1_0", NACELLE_TYPE_INVALID},   {"TQ2_0", NACELLE_TYPE_INVALID},
    {nullptr, NACELLE_TYPE_INVALID},   {nullptr, NACELLE_TYPE_INVALID},   {nullptr, NACELLE_TYPE_INVALID},
    {"MXFP4", NACELLE_TYPE_MXFP4},     {"NVFP4", NACELLE_TYPE_INVALID},   {"Q1_0", NACELLE_TYPE_INVALID},
    {"Q2_0", NACELLE_TYPE_INVALID},
};
static_assert(std::size(kGgmlTypes) == 43);

// What safetensors spells as GGUF tools do; its other types are not read.
constexpr nacelle_type kSafetensorsTypes[] = {
    NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_BF16, NACELLE_TYPE_I32, NACELLE_TYPE_U32,  NACELLE_TYPE_I8,
    NACELLE_TYPE_U8,  NACELLE_TYPE_I64, NACELLE_TYPE_F64,  NACELLE_TYPE_I16, NACELLE_TYPE_BOOL,
};

constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int64_t>::max();

}  // namespace

std::optional<std::uint64_t> tensor_bytes(nacelle_type type, std::span<const std::uint64_t> shape) noexcept {
  const TypeInfo* info = type_info(type);
  const std::uint64_t row = shape.empty() ? 1 : shape.back();
  if (!info || row % info->block_elements != 0) return std::nullopt;
  // An extent of 0 must not hide an overflow of the others: later code multiplies them in any order.
  std::uint64_t elements = 1;
  bool empty = false;
  for (const std::uint64_t extent : shape) {
    if (extent == 0) {
      empty = true;
    } else if (extent > kMaxCount / elements) {
      return std::nullopt;
    } else {
      elements *= extent;
    }
  }
  if (empty) return 0;
  const std::uint64_t blocks = elements / info->block_elements;
  if (blocks > kMaxCount / info->block_bytes) return std::nullopt;
  return blocks * info->block_bytes;
}

const GgmlType* ggml_type(std::uint32_t id) noexcept {
  return id < std::size(kGgmlTypes) && kGgmlTypes[id].name ? &kGgmlTypes[id] : nullptr;
}

std::optional<std::uint32_t> ggml_id(nacelle_type type) noexcept {
  for (std::uint32_t id = 0; id < std::size(kGgmlTypes); ++id)
    if (type != NACELLE_TYPE_INVALID && kGgmlTypes[id].type == type) return id;
  return std::nullopt;
}

nacelle_type type_from_safetensors(std::string_view dtype) noexcept {
  if (dtype == "F8_E4M3") return NACELLE_TYPE_U8;  // sdk/runtime/packed_weights.hpp decodes it, with its scales
  for (const nacelle_type type : kSafetensorsTypes) {
    if (dtype == type_info(type)->name) return type;
  }
  return NACELLE_TYPE_INVALID;
}

std::uint64_t TensorInfo::elements() const noexcept {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : shape) product *= extent;
  return product;
}

}  // namespace nacelle
