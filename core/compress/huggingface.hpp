// A Hugging Face folder as a GGUF file: names, orders and metadata that differ between the two.
#pragma once

#include "core/compress/source.hpp"

namespace nacelle::compress {

// See open_source. Throws Error(kUnsupported) that names the family where it is not covered.
SourceModel open_huggingface(const ModelFiles& files);

}  // namespace nacelle::compress
