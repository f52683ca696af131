// Element types as stored in files and in the KV cache: how to read them as f32, and how to write them.
#pragma once

#include <nacelle/graph.h>

#include <cstddef>
#include <cstdint>

namespace nacelle::reference {

// `count` is a multiple of the type's block_elements (nacelle/types.hpp). Pointers need no alignment.
struct Format {
  nacelle_type type;
  void (*decode)(const std::byte* stored, float* values, std::uint64_t count);
  void (*encode)(const float* values, std::byte* stored, std::uint64_t count);  // nullptr: not a type of the KV cache
};

// nullptr for a type that this backend does not read. Any thread.
const Format* find_format(nacelle_type type);

// "Q4_K", or "an unknown type": for messages.
const char* type_name(nacelle_type type);

}  // namespace nacelle::reference
