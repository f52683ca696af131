// Element types as stored in files and in the KV cache: how to read them as f32, and how to write the cache's.
#pragma once

#include <nacelle/graph.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace nacelle::reference {

// True for the types of weights that this backend reads: all that GGUF stores weights in. Any thread, like all here.
bool is_readable(nacelle_type type);
// `type` is readable and the values are whole blocks. Pointers need no alignment.
void decode(nacelle_type type, const std::byte* stored, std::span<float> values);

using Encode = void (*)(const float* values, std::byte* stored, std::uint64_t count);
// nullptr: not a type of the KV cache.
Encode find_encoder(nacelle_type type);

// "Q4_K", or "an unknown type": for messages.
const char* type_name(nacelle_type type);

}  // namespace nacelle::reference
