// What a model file says of one tensor, and the sizes of the element types.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <string>
#include <vector>

namespace nacelle {

// Element (or block) geometry of a type. `block_elements` is 1 for plain types.
struct TypeInfo {
  nacelle_type type;
  const char* name;              // "F16", "Q8_0": as GGUF tools print it
  std::uint32_t block_elements;  // elements that share one block
  std::uint32_t block_bytes;     // bytes of one block
};

// nullptr for an id that is not in the table.
const TypeInfo* type_info(nacelle_type type) noexcept;

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
