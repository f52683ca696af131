// What a model file says of one tensor. The sizes of the element types are in nacelle/types.hpp.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <nacelle/types.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

// Bytes of a dense tensor whose rows (the last extent) are whole blocks. nullopt when the type is unknown, a row is not
// a whole number of blocks, or the element or byte count exceeds 2^63 - 1. Rank 0 is one element.
std::optional<std::uint64_t> tensor_bytes(nacelle_type type, std::span<const std::uint64_t> shape) noexcept;

// GGUF's tensor types. `type` is NACELLE_TYPE_INVALID where the format is known by name only (IQ2_XXS, TQ1_0, ...).
struct GgmlType {
  const char* name;
  nacelle_type type;
};

// nullptr for an id that GGUF does not define (or has withdrawn).
const GgmlType* ggml_type(std::uint32_t id) noexcept;
// GGUF's id of a type; nullopt where it has none (U8, BOOL, ...).
std::optional<std::uint32_t> ggml_id(nacelle_type type) noexcept;

// "F32", "BF16", "I64", ... NACELLE_TYPE_INVALID for what is not read (U16, U64, F8_E5M2, ...).
nacelle_type type_from_safetensors(std::string_view dtype) noexcept;

// A tensor inside a mapped file. `shape` is row-major, outermost first (a weight of N outputs and K inputs is {N, K});
// GGUF's reversed order is turned round on reading.
struct TensorInfo {
  std::string name;
  nacelle_type type = NACELLE_TYPE_INVALID;
  std::vector<std::uint64_t> shape;
  std::uint32_t file = 0;    // index into the model's mapped files
  std::uint64_t offset = 0;  // bytes from the file's start
  std::uint64_t size = 0;    // bytes

  std::uint64_t elements() const noexcept;
};

}  // namespace nacelle
