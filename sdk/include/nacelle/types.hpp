// Geometry of the element types: how many elements share a block and how many bytes a block takes.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

namespace nacelle {

// `block_elements` is 1 for plain types.
struct TypeInfo {
  nacelle_type type;
  const char* name;  // "F16", "Q8_0": as GGUF tools print it
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
};

inline constexpr TypeInfo kTypes[] = {
    {NACELLE_TYPE_F32, "F32", 1, 4},
    {NACELLE_TYPE_F16, "F16", 1, 2},
    {NACELLE_TYPE_BF16, "BF16", 1, 2},
    {NACELLE_TYPE_I32, "I32", 1, 4},
    {NACELLE_TYPE_U32, "U32", 1, 4},
    {NACELLE_TYPE_I8, "I8", 1, 1},
    {NACELLE_TYPE_U8, "U8", 1, 1},
    {NACELLE_TYPE_I64, "I64", 1, 8},
    {NACELLE_TYPE_F64, "F64", 1, 8},
    {NACELLE_TYPE_I16, "I16", 1, 2},
    {NACELLE_TYPE_BOOL, "BOOL", 1, 1},
    {NACELLE_TYPE_Q8_0, "Q8_0", 32, 34},
    {NACELLE_TYPE_Q4_0, "Q4_0", 32, 18},
    {NACELLE_TYPE_Q4_1, "Q4_1", 32, 20},
    {NACELLE_TYPE_Q5_0, "Q5_0", 32, 22},
    {NACELLE_TYPE_Q5_1, "Q5_1", 32, 24},
    {NACELLE_TYPE_Q2_K, "Q2_K", 256, 84},
    {NACELLE_TYPE_Q3_K, "Q3_K", 256, 110},
    {NACELLE_TYPE_Q4_K, "Q4_K", 256, 144},
    {NACELLE_TYPE_Q5_K, "Q5_K", 256, 176},
    {NACELLE_TYPE_Q6_K, "Q6_K", 256, 210},
    {NACELLE_TYPE_IQ4_NL, "IQ4_NL", 32, 18},
    {NACELLE_TYPE_IQ4_XS, "IQ4_XS", 256, 136},
    {NACELLE_TYPE_MXFP4, "MXFP4", 32, 17},
};

// nullptr for an id that is not in the table.
constexpr const TypeInfo* type_info(nacelle_type type) noexcept {
  for (const TypeInfo& info : kTypes)
    if (info.type == type) return &info;
  return nullptr;
}

// Bytes of `elements` elements stored in `type`; a row must hold whole blocks. 0 for an unknown type.
constexpr std::uint64_t row_bytes(nacelle_type type, std::uint64_t elements) noexcept {
  const TypeInfo* info = type_info(type);
  return info ? elements / info->block_elements * info->block_bytes : 0;
}

}  // namespace nacelle
