// tokenizer.json and its neighbours as the keys tokenizer.ggml.* of a GGUF file.
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/formats/gguf_writer.hpp"

namespace nacelle::compress {

// `tokens`: rows of the embedding; ids that the tokenizer lacks become unused tokens. Throws Error: kNotFound (no
// tokenizer.json), kUnsupported with what GGUF has no name for.
void add_tokenizer(const std::filesystem::path& folder, std::uint64_t tokens, GgufWriter& to);

}  // namespace nacelle::compress
